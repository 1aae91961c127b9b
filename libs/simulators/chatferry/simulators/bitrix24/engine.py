"""One call of a method, with the portal's checks in the portal's order."""

from collections import Counter
from dataclasses import dataclass, field

from chatferry.simulators.bitrix24.envelope import Stamp
from chatferry.simulators.bitrix24.errors import PortalError
from chatferry.simulators.bitrix24.faults import FaultPlan
from chatferry.simulators.bitrix24.limits import OperatingTime
from chatferry.simulators.bitrix24.methods import all_methods
from chatferry.simulators.bitrix24.methods.call import Call, Context, Reply, has_scope
from chatferry.simulators.bitrix24.model import Portal, Webhook
from chatferry.simulators.bitrix24.params import Params
from chatferry.simulators.bitrix24.render import UserJson
from chatferry.simulators.bitrix24.settings import PortalSettings
from chatferry.simulators.bitrix24.visibility import View
from chatferry.simulators.clock import Clock

BATCH = "batch"


@dataclass(slots=True)
class Statistics:
    """What was asked and answered since the start."""

    requests: Counter[str] = field(default_factory=Counter)
    """HTTP requests by method, refused ones included."""
    commands: Counter[str] = field(default_factory=Counter)
    """Commands inside batches by method."""
    batch_sizes: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """Error codes of whole requests; those of single commands stand in `command_errors`."""
    command_errors: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    first_request_at: float | None = None
    last_request_at: float | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A call that was answered, with its times in seconds of the portal's clock."""

    reply: Reply
    started_at: float
    finished_at: float
    operating: tuple[float, int | None]


class Engine:
    """Runs methods for webhooks: lookup, authorization, scope, operating limit, call."""

    def __init__(self, portal: Portal, settings: PortalSettings, clock: Clock, faults: FaultPlan) -> None:
        self.portal = portal
        self.clock = clock
        self.faults = faults
        self.statistics = Statistics()
        self.operating = OperatingTime(settings.operating_limit_s, settings.operating_cost_s, clock)
        self.stamp = Stamp(settings.utc_offset_minutes)
        self._methods = all_methods(settings.quirks)
        scopes_of: dict[str, tuple[str, ...]] = {name: method.scopes for name, method in self._methods.items()}
        users = UserJson(portal)
        self._context = Context(portal, settings.quirks, users, self.stamp, scopes_of | {BATCH: ()})
        self._views: dict[str, View] = {}

    def authorize(self, method: str, webhook_key: str) -> Webhook:
        """Refused for an unknown method first, then for an unknown webhook, then for a dismissed owner."""
        if method != BATCH and method not in self._methods:
            raise PortalError("ERROR_METHOD_NOT_FOUND")
        webhook = self.portal.webhooks.get(webhook_key)
        if webhook is None:
            raise PortalError("INVALID_CREDENTIALS")
        if not self.portal.users[webhook.user_id].active:
            raise PortalError("authorization_error")
        return webhook

    def call(self, webhook: Webhook, method: str, params: Params) -> Done:
        """Raises PortalError; the call that crosses the operating limit still runs, the next one is refused."""
        known = self._methods.get(method)
        if known is None:
            raise PortalError("ERROR_METHOD_NOT_FOUND")
        if not has_scope(known.scopes, webhook.scopes):
            raise PortalError("insufficient_scope")
        if self.operating.blocked(webhook.key, method):
            raise PortalError("OPERATION_TIME_LIMIT")
        self.faults.refuse(method, self.statistics.faults)
        started_at = self.clock()
        reply = known.run(Call(self._context, self.view(webhook), params, started_at))
        finished_at = self.clock()
        self.operating.add(webhook.key, method, finished_at - started_at)
        return Done(reply, started_at, finished_at, self.operating.spent(webhook.key, method))

    def view(self, webhook: Webhook) -> View:
        view = self._views.get(webhook.key)
        if view is None:
            view = self._views[webhook.key] = View(self.portal, webhook)
        return view
