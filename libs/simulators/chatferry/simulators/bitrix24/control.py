"""The control interface: change a running portal, break it, and read the truth about it. JSON in, JSON out.

GET    /control/truth                                   counts, statistics, settings, webhooks without secrets
GET    /control/truth/{user_id}/users|chats             what that user's webhook may see
GET    /control/truth/{user_id}/messages?chat_id=N      one JSON object a line; without chat_id, of all visible chats
POST   /control/changes/{name}                          a method of Changes, its arguments as the body; {"result": ...}
GET|POST|DELETE /control/faults                         list, add one, remove all
POST|DELETE     /control/activity                       {"rate_per_s", "seed"}; what was done
PATCH  /control/settings                                speed, bucket, operating_limit_s, operating_cost_s, auth_status,
                                                        https_required
POST   /control/webhooks                                {"user_id", "scopes"?}: {"url_file"}; DELETE ../{user_id}
"""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from chatferry.simulators.bitrix24 import jsontext, truth
from chatferry.simulators.bitrix24.changes import Changes
from chatferry.simulators.bitrix24.faults import Fault
from chatferry.simulators.bitrix24.model import Webhook
from chatferry.simulators.bitrix24.switchboard import Switchboard
from chatferry.simulators.controls import ControlApp, UnknownError, call_with, json_object

Json = dict[str, Any]
IssueWebhook = Callable[[int, tuple[str, ...] | None], Path]
"""Makes a webhook for a user, with all scopes for None; the file with its URL. Raises ValueError for no such user."""

CHANGES = tuple(name for name in vars(Changes) if not name.startswith("_"))


def control_app(switchboard: Switchboard, issue_webhook: IssueWebhook) -> Starlette:
    control = _Control(switchboard, issue_webhook)
    routes = (
        ("/truth", "GET", control.overview),
        ("/truth/{user_id:int}/users", "GET", control.users),
        ("/truth/{user_id:int}/chats", "GET", control.chats),
        ("/truth/{user_id:int}/messages", "GET", control.messages),
        ("/changes/{name}", "POST", control.change),
        ("/faults", "GET", control.faults),
        ("/faults", "POST", control.add_fault),
        ("/faults", "DELETE", control.clear_faults),
        ("/activity", "POST", control.start_activity),
        ("/activity", "DELETE", control.stop_activity),
        ("/settings", "PATCH", control.change_settings),
        ("/webhooks", "POST", control.add_webhook),
        ("/webhooks/{user_id:int}", "DELETE", control.revoke_webhook),
    )
    return ControlApp(routes, jsontext.dump)


def _json(value: Any, status: int = 200) -> Response:
    return Response(jsontext.dump(value), status, media_type="application/json")


async def _body(request: Request) -> Json:
    return await json_object(request, jsontext.load)


async def _lines(chats: Iterable[Iterable[Json]]) -> AsyncIterator[bytes]:
    """One piece a chat, so that a chat that changes meanwhile is still one consistent list."""
    for rows in chats:
        yield b"".join(jsontext.dump(row) + b"\n" for row in rows)


class _Control:
    def __init__(self, switchboard: Switchboard, issue_webhook: IssueWebhook) -> None:
        self._board = switchboard
        self._issue_webhook = issue_webhook
        self._portal = switchboard.engine.portal

    async def overview(self, _request: Request) -> Response:
        webhooks = [
            {"user_id": webhook.user_id, "scopes": webhook.scopes, "all_seeing": webhook.all_seeing}
            for webhook in self._portal.webhooks.values()
        ]
        return _json(
            {
                "counts": truth.counts(self._portal),
                "statistics": truth.statistics(self._board.engine),
                "settings": self._board.settings(),
                "activity": dict(self._board.activity.done) if self._board.activity else {},
                "webhooks": webhooks,
            }
        )

    async def users(self, _request: Request) -> Response:
        return _json(truth.users(self._portal))

    async def chats(self, request: Request) -> Response:
        return _json(truth.chats(self._portal, self._webhook(request)))

    async def messages(self, request: Request) -> Response:
        webhook = self._webhook(request)
        asked = request.query_params.get("chat_id")
        chats = [chat["id"] for chat in truth.chats(self._portal, webhook)] if asked is None else [int(asked)]

        rows = (truth.messages(self._portal, webhook, chat_id) for chat_id in chats)
        return StreamingResponse(_lines(rows), media_type="application/x-ndjson")

    async def change(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in CHANGES:
            raise UnknownError(f"there is no change {name!r}; there are {', '.join(CHANGES)}")
        return _json({"result": call_with(getattr(self._board.changes, name), await _body(request))})

    async def faults(self, _request: Request) -> Response:
        return _json([asdict(fault) for fault in self._board.engine.faults.rules])

    async def add_fault(self, request: Request) -> Response:
        fault: Fault = call_with(Fault, await _body(request))
        self._board.engine.faults.add(fault)
        return _json(asdict(fault))

    async def clear_faults(self, _request: Request) -> Response:
        self._board.engine.faults.clear()
        return _json({})

    async def start_activity(self, request: Request) -> Response:
        call_with(self._board.start_activity, await _body(request))
        return _json({})

    async def stop_activity(self, _request: Request) -> Response:
        return _json({"done": dict(self._board.stop_activity())})

    async def change_settings(self, request: Request) -> Response:
        """All or nothing: every value is read before the first one takes effect."""
        changes = [self._board.reading(name, value) for name, value in (await _body(request)).items()]
        for apply in changes:
            apply()
        return _json(self._board.settings())

    async def add_webhook(self, request: Request) -> Response:
        body = await _body(request)
        user_id, scopes = body.get("user_id"), body.get("scopes")
        if not isinstance(user_id, int) or not (scopes is None or isinstance(scopes, list)):
            raise ValueError("wanted: user_id, an integer, and scopes, a list, if not all")
        return _json({"url_file": str(self._issue_webhook(user_id, None if scopes is None else tuple(scopes)))})

    async def revoke_webhook(self, request: Request) -> Response:
        return _json({"revoked": self._board.revoke_webhooks(request.path_params["user_id"])})

    def _webhook(self, request: Request) -> Webhook:
        user_id = request.path_params["user_id"]
        try:
            return self._board.webhook(user_id)
        except KeyError:
            raise UnknownError(f"user {user_id} has no webhook") from None
