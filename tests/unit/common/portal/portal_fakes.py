"""A clock that moves when somebody sleeps, a bucket that lets all pass, a portal that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from chatferry.common.portal.bucket import Limits, Reservation
from chatferry.common.portal.client import PortalClient, PortalSettings
from chatferry.common.portal.operating import Measured
from chatferry.common.portal.webhook import parse_webhooks
from chatferry.common.telemetry.metrics import Metrics

SECRET = "unitsecret"
START = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)


class FakeClock:
    """Time by sleeping only."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return sum(self.slept)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class FakeBucket:
    """Counts what it is asked. `carries`: how many commands of a method may go, `later_s`: when the others may."""

    def __init__(self) -> None:
        self.taken = 0
        self.filled = 0
        self.carries: dict[tuple[int, str], int] = {}
        self.later_s = 30.0
        self.settled: list[tuple[dict[str, int], dict[str, Measured]]] = []

    async def take(self) -> None:
        self.taken += 1

    async def fill(self) -> None:
        self.filled += 1

    async def reserve(self, webhook: int, wanted: Mapping[str, int]) -> Reservation:
        granted = {method: min(count, self.carries.get((webhook, method), count)) for method, count in wanted.items()}
        return Reservation("ticket", granted, dict.fromkeys(wanted, self.later_s))

    async def settle(self, webhook: int, reservation: Reservation, told: Mapping[str, Measured]) -> None:
        self.settled.append((dict(reservation.granted), dict(told)))


Script = Callable[[str, dict[str, Any]], httpx.Response]


class Scripted:
    """A client of a portal that answers `script(method, body)`; requests are kept."""

    def __init__(self, script: Script) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.clock, self.bucket, self.metrics = FakeClock(), FakeBucket(), Metrics()

        def answer(request: httpx.Request) -> httpx.Response:
            method, body = request.url.path.rpartition("/")[2], json.loads(request.content)
            self.requests.append((method, body))
            return script(method, body)

        http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        webhooks = parse_webhooks([f"https://p.test/rest/1/{SECRET}"])
        client = PortalClient(webhooks, http, self.bucket, self.clock, self.metrics)
        self.client = client.with_settings(PortalSettings(Limits()))


def ok(result: Any) -> httpx.Response:
    return httpx.Response(200, json={"result": result, "time": {}})


def refused(code: str, status: int = 400) -> httpx.Response:
    return httpx.Response(status, json={"error": code, "error_description": "words of the portal"})


def batch_answer(body: dict[str, Any], of: Callable[[str, str], Any]) -> httpx.Response:
    """`of(label, command)`: a result, or {"error": …}. None: in neither map."""
    results, errors = {}, {}
    for label, command in body["cmd"].items():
        one = of(label, command)
        if isinstance(one, dict) and "error" in one:
            errors[label] = one
        elif one is not None:
            results[label] = one
    return ok({"result": results or [], "result_error": errors or [], "result_time": []})
