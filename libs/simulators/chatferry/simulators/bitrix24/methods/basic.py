"""Methods every webhook may call: is it alive, whose is it, what may it do."""

from collections.abc import Mapping

from chatferry.simulators.bitrix24 import jsontext
from chatferry.simulators.bitrix24.errors import PortalError
from chatferry.simulators.bitrix24.methods.call import Call, Method, Reply, has_scope
from chatferry.simulators.bitrix24.model import ALL_SCOPES
from chatferry.simulators.bitrix24.params import is_yes


def methods() -> Mapping[str, Method]:
    return {
        "scope": Method(_scope),
        "profile": Method(_profile),
        "method.get": Method(_method_get),
        "methods": Method(_methods),
        "user.admin": Method(_user_admin),
        "server.time": Method(_server_time),
        "app.info": Method(_app_info),
    }


def _scope(call: Call) -> Reply:
    scopes = ALL_SCOPES if is_yes(call.params.get("full")) else call.view.webhook.scopes
    return Reply(jsontext.dump(sorted(scopes)))


def _profile(call: Call) -> Reply:
    user = call.owner
    if not user.active:
        return Reply(b"{}")
    profile = {"ID": str(user.id), "ADMIN": user.admin, "NAME": user.first_name, "LAST_NAME": user.last_name}
    return Reply(jsontext.dump(profile | {"PERSONAL_GENDER": user.gender, "TIME_ZONE": ""}))


def _method_get(call: Call) -> Reply:
    name = str(call.params.get("name", "")).lower()
    scopes = call.context.scopes_of.get(name)
    available = scopes is not None and has_scope(scopes, call.view.webhook.scopes)
    return Reply(jsontext.dump({"isExisting": scopes is not None, "isAvailable": available}))


def _methods(call: Call) -> Reply:
    granted = call.view.webhook.scopes
    return Reply(jsontext.dump([name for name, needed in call.context.scopes_of.items() if has_scope(needed, granted)]))


def _user_admin(call: Call) -> Reply:
    return Reply(jsontext.dump(call.owner.admin))


def _server_time(call: Call) -> Reply:
    return Reply(jsontext.dump(call.context.stamp.iso(call.now)))


def _app_info(call: Call) -> Reply:
    raise PortalError("ACCESS_DENIED", "Access denied! Application context required")
