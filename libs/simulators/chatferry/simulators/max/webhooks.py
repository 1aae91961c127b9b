"""Subscriptions and the sender: one update a POST, tried again for hours, then given up."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx

from chatferry.simulators.clock import Clock
from chatferry.simulators.max.errors import ApiError
from chatferry.simulators.max.settings import Live
from chatferry.simulators.max.timetable import Timetable

SECRET_HEADER = "X-Max-Bot-Api-Secret"  # noqa: S105 the header's name
SECRET = re.compile(r"[a-zA-Z0-9_-]{5,256}")
WORKERS = 16
"""Deliveries in flight; nobody promises an order."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """An update on its way. `number` grows in the order of what happened."""

    number: int
    update_type: str
    body: bytes


@dataclass(slots=True, eq=False)
class Subscription:
    url: str
    secret: str | None
    update_types: tuple[str, ...]
    since_ms: int
    failing_since: float | None = None
    """When the first failure after the last success was."""


@dataclass(frozen=True, slots=True)
class Delivery:
    parcel: Parcel
    subscription: Subscription
    failures: int = 0


class Webhooks:
    """`lost` hears of every delivery that is not tried any more, and why."""

    def __init__(self, live: Live, clock: Clock, timetable: Timetable, lost: Callable[[Parcel, str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._live = live
        self._clock = clock
        self._timetable = timetable
        self._lost = lost
        self._subscriptions: dict[str, Subscription] = {}
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue()
        self._next_slot = 0.0
        self._highest = -1
        self.arrived: set[int] = set()
        """Numbers of the parcels that were taken with 200 at least once."""

    @property
    def active(self) -> bool:
        return bool(self._subscriptions)

    def waiting(self) -> int:
        """Deliveries whose turn has not come, retries of later apart."""
        return self._queue.qsize()

    def rows(self) -> list[dict[str, Any]]:
        """As GET /subscriptions says them: without secrets."""
        subscriptions = self._subscriptions.values()
        return [{"url": one.url, "time": one.since_ms, "update_types": list(one.update_types)} for one in subscriptions]

    def subscribe(self, body: Any) -> str | None:
        """Why not, or None; raises ApiError for what is no request at all."""
        if not isinstance(body, dict) or not isinstance(body.get("url"), str):
            raise ApiError("proto.payload", "url: must not be null")
        types, secret = body.get("update_types"), body.get("secret")
        if types is not None and not (isinstance(types, list) and all(isinstance(name, str) for name in types)):
            raise ApiError("proto.payload", "update_types: must be a list of strings")
        if secret is not None and not (isinstance(secret, str) and SECRET.fullmatch(secret)):
            raise ApiError("proto.payload", "secret: must match ^[a-zA-Z0-9_-]{5,256}$")
        refused = _refused_url(body["url"], self._live.now.delivery.https_only)
        if refused is None:
            new = Subscription(body["url"], secret, tuple(types or ()), int(self._clock() * 1000))
            # The same URL again is the same subscription: what is on its way to it stays so.
            there = self._subscriptions.setdefault(new.url, new)
            there.secret, there.update_types = new.secret, new.update_types
        return refused

    def unsubscribe(self, url: str) -> bool:
        return self._subscriptions.pop(url, None) is not None

    def deliver(self, parcel: Parcel) -> None:
        """To every subscription that wants such updates."""
        for subscription in self._subscriptions.values():
            if not subscription.update_types or parcel.update_type in subscription.update_types:
                self._queue.put_nowait(Delivery(parcel, subscription))

    async def run(self, client: httpx.AsyncClient) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(WORKERS):
                workers.create_task(self._work(client))

    async def _work(self, client: httpx.AsyncClient) -> None:
        while True:
            delivery = await self._queue.get()
            if self._gone(delivery):
                continue
            await self._pace()
            if await self._post(client, delivery):
                self._succeeded(delivery)
            else:
                self._failed(delivery)

    async def _pace(self) -> None:
        """Posts are spread evenly once there are more than may go out."""
        now = monotonic()
        slot = max(now, self._next_slot)
        self._next_slot = slot + 1 / self._live.now.delivery.outflow_per_s
        if slot > now:
            await asyncio.sleep(slot - now)

    async def _post(self, client: httpx.AsyncClient, delivery: Delivery) -> bool:
        secret = delivery.subscription.secret
        headers = {"content-type": "application/json"} | ({} if secret is None else {SECRET_HEADER: secret})
        self.counts["posts"] += 1
        try:
            async with asyncio.timeout(self._live.now.delivery.deadline_s):
                answer = await client.post(delivery.subscription.url, content=delivery.parcel.body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return False
        return answer.status_code == httpx.codes.OK

    def _succeeded(self, delivery: Delivery) -> None:
        delivery.subscription.failing_since = None
        number = delivery.parcel.number
        self.counts["delivered"] += 1
        if number in self.arrived:
            self.counts["repeated"] += 1
            return
        self.arrived.add(number)
        if number < self._highest:
            self.counts["reordered"] += 1
        self._highest = max(self._highest, number)

    def _failed(self, delivery: Delivery) -> None:
        rules = self._live.now.delivery
        subscription, failures = delivery.subscription, delivery.failures + 1
        self.counts["failed_posts"] += 1
        if subscription.failing_since is None:
            since = subscription.failing_since = self._clock()
            self._timetable.after(rules.unsubscribe_after_s, lambda: self._give_up_on(subscription, since))
        if self._gone(delivery):
            return
        if failures > rules.retries:
            self._lose(delivery, "given_up")
            return
        again = Delivery(delivery.parcel, subscription, failures)
        pause = rules.retry_first_s * rules.retry_factor ** (failures - 1)
        self._timetable.after(pause, lambda: self._queue.put_nowait(again))

    def _give_up_on(self, subscription: Subscription, since: float) -> None:
        """All that time without one success."""
        if subscription.failing_since == since and self._subscriptions.get(subscription.url) is subscription:
            self.counts["unsubscribed"] += 1
            del self._subscriptions[subscription.url]

    def _gone(self, delivery: Delivery) -> bool:
        if self._subscriptions.get(delivery.subscription.url) is delivery.subscription:
            return False
        self._lose(delivery, "abandoned")
        return True

    def _lose(self, delivery: Delivery, why: str) -> None:
        self._lost(delivery.parcel, why)


def _refused_url(url: str, https_only: bool) -> str | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "invalid url"
    allowed: Iterable[str] = ("https",) if https_only else ("http", "https")
    if parts.scheme not in allowed or not parts.hostname:
        return f"url must be {' or '.join(allowed)}"
    if https_only and port not in (None, 443):
        return "port must be 443"
    return None
