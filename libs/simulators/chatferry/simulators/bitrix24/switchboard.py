"""Everything of a running portal that may be changed while it runs."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random
from typing import Any

from chatferry.simulators.bitrix24.activity import Activity
from chatferry.simulators.bitrix24.changes import Changes
from chatferry.simulators.bitrix24.engine import Engine
from chatferry.simulators.bitrix24.model import Webhook
from chatferry.simulators.bitrix24.settings import RateBucket
from chatferry.simulators.bitrix24.transport import RestApp
from chatferry.simulators.clock import ScaledClock


class Switchboard:
    """Owns the background activity; `close` ends it."""

    def __init__(self, engine: Engine, rest: RestApp, clock: ScaledClock) -> None:
        self.engine = engine
        self.rest = rest
        self.clock = clock
        self.changes = Changes(engine.portal, clock, engine.stamp)
        self.activity: Activity | None = None
        self._task: asyncio.Task[None] | None = None

    def webhook(self, user_id: int) -> Webhook:
        """The first webhook of that user; raises KeyError when there is none."""
        for webhook in self.engine.portal.webhooks.values():
            if webhook.user_id == user_id:
                return webhook
        raise KeyError(user_id)

    def revoke_webhooks(self, user_id: int) -> int:
        """How many there were; calls through them get INVALID_CREDENTIALS from now on."""
        webhooks = self.engine.portal.webhooks
        keys = [key for key, webhook in webhooks.items() if webhook.user_id == user_id]
        for key in keys:
            del webhooks[key]
        return len(keys)

    def start_activity(self, rate_per_s: float, seed: int) -> Activity:
        """Ends an earlier one first."""
        self.stop_activity()
        random = Random(seed)  # noqa: S311 repeatable changes, not secrets
        self.activity = Activity(self.engine.portal, self.changes, random)
        self._task = asyncio.create_task(self.activity.run(rate_per_s))
        return self.activity

    def stop_activity(self) -> Mapping[str, int]:
        """What was done, by kind of change; raises what ended it before its time."""
        task, self._task = self._task, None
        if task is not None and task.done():
            task.result()
        elif task is not None:
            task.cancel()
        return self.activity.done if self.activity else {}

    async def close(self) -> None:
        task = self._task
        self.stop_activity()
        if task is not None:
            with suppress(asyncio.CancelledError):
                await task

    def set_bucket(self, bucket: RateBucket | None) -> None:
        self.rest.buckets.bucket = bucket

    def set_operating(self, limit_s: float | None, costs: Mapping[str, float]) -> None:
        self.engine.operating.limit_s = limit_s
        self.engine.operating.costs = dict(costs)

    def reading(self, name: str, value: Any) -> Callable[[], None]:
        """What sets a setting, named and shaped as in `settings`; raises ValueError for what is none."""
        operating = self.engine.operating
        if name == "speed" and _is_number(value):
            return lambda: self.clock.set_speed(value)
        if name == "bucket" and (value is None or _is_bucket(value)):
            return lambda: self.set_bucket(None if value is None else RateBucket(**value))
        if name == "operating_limit_s" and (value is None or _is_number(value)):
            return lambda: self.set_operating(value, operating.costs)
        if name == "operating_cost_s" and isinstance(value, dict) and all(map(_is_number, value.values())):
            return lambda: self.set_operating(operating.limit_s, value)
        if name == "auth_status" and value in (401, 403):
            return lambda: setattr(self.rest, "auth_status", value)
        if name == "https_required" and isinstance(value, bool):
            return lambda: setattr(self.rest, "https_required", value)
        raise ValueError(f"{name} cannot be set to that; the settings and their forms are {self.settings()}")

    def settings(self) -> dict[str, Any]:
        bucket = self.rest.buckets.bucket
        return {
            "speed": self.clock.speed,
            "bucket": None if bucket is None else {"capacity": bucket.capacity, "drain_per_s": bucket.drain_per_s},
            "operating_limit_s": self.engine.operating.limit_s,
            "operating_cost_s": self.engine.operating.costs,
            "auth_status": self.rest.auth_status,
            "https_required": self.rest.https_required,
        }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_bucket(value: Any) -> bool:
    return (
        isinstance(value, dict) and set(value) == {"capacity", "drain_per_s"} and all(map(_is_number, value.values()))
    )
