"""Whether the alerts of the participants service fire on the running service when their cause is there, and go when it
goes: a real Prometheus with the deployed rules, a simulated MAX, a real Kafka, MongoDB and Redis.

`python -m tests.bench.participants_alerts` takes 27 minutes, at most 35: the rules look back ten minutes. Each cause
has a service, a MAX and a Prometheus of its own, for two of the rules add up all services; they run beside each other.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import typer
from tests.bench.alerts_causes import (
    FAILING,
    REFUSED,
    ROOM,
    STORM_A_MINUTE,
    Cause,
    reads_are_refused,
    reads_fail,
    redis_is_full,
    storm_of_changes,
)
from tests.bench.alerts_prometheus import EVALUATED_EVERY_S, PROGRAM, Active, Prometheus, Rule, open_prometheus
from tests.bench.alerts_stand import Readers, Stand, launch, reading, shown

from chatferry.operator.counting.platform import open_control
from chatferry.operator.folder import Folder
from chatferry.operator.processes import stop, supervision
from chatferry.stack import Addresses, LocalStack

LOCAL = Folder.of(os.environ).root / "bench" / "alerts"
_NO_PROMETHEUS = 3
_LEARNED_S, _READY_S, _HEALTHY_S, _GONE_S = 300.0, 60.0, 180.0, 720.0
_LOOK_S = 2.0


@dataclass(frozen=True, slots=True)
class Case:
    """`window_s`: what the rule looks back. `own_redis`: the cause is in Redis, which others would feel too."""

    name: str
    alert: str
    window_s: float
    induced: str
    cause: Cause
    chats: int
    settings: Mapping[str, str]
    own_redis: bool = False


CASES = (
    Case(
        "errors",
        "ChatferryMaxErrors",
        600,
        f"MAX answers 500 to {FAILING:.0%} of the reads",
        reads_fail,
        200,
        {"PARTICIPANTS_CALLS_PER_SECOND": "25", "PARTICIPANTS_CACHE_TTL": "120"},
    ),
    Case(
        "refused",
        "ChatferryMaxRefuses",
        600,
        f"MAX answers 403 to {REFUSED:.0%} of the reads",
        reads_are_refused,
        200,
        {"PARTICIPANTS_CALLS_PER_SECOND": "25", "PARTICIPANTS_CACHE_TTL": "120"},
    ),
    Case(
        "late",
        "ChatferryCountsLate",
        600,
        f"each of 240 chats changes {STORM_A_MINUTE:.0f} times a minute, 4 calls a second are allowed",
        storm_of_changes,
        240,
        {"PARTICIPANTS_CALLS_PER_SECOND": "4"},
    ),
    Case(
        "misses",
        "ChatferryCacheMisses",
        300,
        f"others write to a Redis with {ROOM // 2**20} MiB left, which evicts what was not used for longest",
        redis_is_full,
        200,
        {"PARTICIPANTS_CALLS_PER_SECOND": "25", "PARTICIPANTS_CACHE_TTL": "300"},
        own_redis=True,
    ),
)


@dataclass(slots=True)
class Found:
    """`pending_s`, `firing_s`: since the cause came; `gone_s`: since it went. `others`: alerts that it does not
    explain. `missed`: what did not come as it should."""

    case: Case
    pending_s: float | None = None
    firing_s: float | None = None
    gone_s: float | None = None
    firing: Active | None = None
    others: dict[str, str] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        print(f"{time.strftime('%H:%M:%S', time.gmtime())} {self.case.name}: {line}", flush=True)

    def told(self) -> str:
        if self.firing is None or self.firing_s is None or self.pending_s is None:
            return f"{self.case.alert} did not fire"
        gone = f"still fired {_GONE_S / 60:.0f} min later" if self.gone_s is None else f"gone {self.gone_s:.0f} s later"
        times = f"pending after {self.pending_s:.0f} s, firing after {self.firing_s:.0f} s"
        return f"{self.case.alert} {times} at {self.firing.value:.3g}, {gone}"


@dataclass(slots=True)
class Trial:
    """One case on its stand."""

    found: Found
    stand: Stand
    prometheus: Prometheus
    rules: list[Rule] = field(default_factory=list)

    async def run(self) -> None:
        await self._begin()
        async with reading(self.stand) as readers:
            await self._healthy(readers)
            async with self.found.case.cause(self.stand) as done:
                self.found.say(f"induced: {self.found.case.induced}")
                await self._fires()
                self.found.say(await done())
                await self._values()
            if self.found.firing is not None:
                await self._goes()
                await self._values()
            self.found.say(f"{readers.failed} of {readers.asked:,} pages for readers failed")

    async def _begin(self) -> None:
        """All chats are counted, changes begin, Prometheus looks."""
        async with open_control(self.stand.control) as control:
            await _until(_READY_S, control.subscribed, "the service has not subscribed")
            await control.announce()
            await _until(_LEARNED_S, lambda: _learned(self.stand, self.found.case.chats), "chats are not counted")
            await control.resume()
        self.stand.begin.touch()
        await _until(_READY_S, self.prometheus.ready, "Prometheus does not see the service")
        self.rules = await self.prometheus.rules()
        assert {rule.alert for rule in self.rules} == {case.alert for case in CASES}, self.rules

    async def _healthy(self, readers: Readers) -> None:
        """No alert of the group is pending, though there is what each would tell of."""
        deadline = time.monotonic() + _HEALTHY_S
        while time.monotonic() < deadline:
            active = await self._active()
            assert not active, f"{self.found.case.name}: nothing was induced yet, and there is {active}"
            await asyncio.sleep(_LOOK_S)
        assert readers.asked > readers.failed, f"{self.found.case.name}: nobody was served"
        self.found.say(f"healthy for {_HEALTHY_S:.0f} s: no alert pending or firing")
        await self._values()

    async def _fires(self) -> None:
        alert, window_s, begun = self.found.case.alert, self.found.case.window_s, time.monotonic()
        [for_s] = [rule.for_s for rule in self.rules if rule.alert == alert]
        limit_s = for_s + window_s + 8 * EVALUATED_EVERY_S
        while (seconds := time.monotonic() - begun) < limit_s:
            one = (await self._active()).get(alert)
            if one is not None and self.found.pending_s is None:
                self.found.pending_s = seconds
                self.found.say(f"{alert} is {one.state} after {seconds:.0f} s, value {one.value:.3g}")
            if one is not None and one.state == "firing":
                self.found.firing_s, self.found.firing = seconds, one
                self.found.say(f"{alert} is firing after {seconds:.0f} s, value {one.value:.3g}: {one.summary}")
                return
            await asyncio.sleep(_LOOK_S)
        self.found.missed.append(f"{alert} did not fire within {limit_s:.0f} s of: {self.found.case.induced}")

    async def _goes(self) -> None:
        alert, begun = self.found.case.alert, time.monotonic()
        self.found.say("the cause is taken away")
        while (seconds := time.monotonic() - begun) < _GONE_S:
            if alert not in await self._active():
                self.found.gone_s = seconds
                self.found.say(f"{alert} is gone after {seconds:.0f} s")
                return
            await asyncio.sleep(_LOOK_S)
        self.found.say(f"{alert} still fired after {_GONE_S / 60:.0f} minutes")

    async def _active(self) -> dict[str, Active]:
        """Of the group; whatever is not this case's is kept in mind."""
        active = await self.prometheus.active()
        for name, one in active.items():
            if name != self.found.case.alert and self.found.others.get(name) not in (one.state, "firing"):
                self.found.others[name] = one.state
                self.found.say(f"beside it {name} is {one.state}, value {one.value:.3g}: {one.summary}")
        names = {rule.alert for rule in self.rules}
        return {name: one for name, one in active.items() if name in names}

    async def _values(self) -> None:
        """What each rule compares with its bound."""
        for rule in self.rules:
            value = await self.prometheus.value(rule.measured)
            self.found.say(f"  {rule.alert}: {'no value' if value is None else format(value, '.3g')}")


async def _learned(stand: Stand, chats: int) -> bool:
    linked = await shown(stand, "participants_linked_chats")
    return linked == chats and await shown(stand, "participants_stale_data_count") == 0


async def _until(seconds: float, done: Callable[[], Awaitable[bool]], wrong: str) -> None:
    deadline = time.monotonic() + seconds
    while not await done():
        assert time.monotonic() < deadline, f"{wrong} after {seconds:.0f} s"
        await asyncio.sleep(_LOOK_S)


async def _tried(case: Case, stand: Stand) -> Found:
    found = Found(case)
    async with open_prometheus(stand.prometheus) as prometheus:
        await Trial(found, stand, prometheus).run()
    group = {one.alert for one in CASES}
    found.missed += [f"{name} is {state} by it too" for name, state in found.others.items() if name in group]
    again = [one["name"] for one in supervision(stand.folder)["processes"] if one["restarts"]]
    found.missed += [f"{name} was started again" for name in again]
    return found


async def _all(stands: list[Stand]) -> list[Found | BaseException]:
    tried = (_tried(case, stand) for case, stand in zip(CASES, stands, strict=True))
    return await asyncio.gather(*tried, return_exceptions=True)


def _redis_of_its_own(addresses: Addresses) -> tuple[LocalStack, Addresses]:
    """The same Kafka and MongoDB beside it."""
    given = {"CHATFERRY_KAFKA": addresses.kafka, "CHATFERRY_MONGODB": addresses.mongodb, "CHATFERRY_REDIS": ""}
    stack = LocalStack(LOCAL / "redis", announce=lambda _: None, environment={**os.environ, **given})
    return stack, stack.up()


def measured() -> list[Found | BaseException]:
    """Starts it all, tries each case, and ends it all; logs and what Prometheus has kept stay."""
    folders = [Folder(LOCAL / case.name) for case in CASES]
    with ExitStack() as ends:
        locks = [ends.enter_context(folder.take("a bench")) for folder in folders]
        stack = LocalStack(LOCAL, announce=lambda _: None)
        stack.down()
        _forget()
        ends.callback(_forget)
        ends.callback(stack.down)
        addresses = stack.up()
        own, apart = _redis_of_its_own(addresses)
        ends.callback(own.down)
        stands = []
        for case, folder, lock in zip(CASES, folders, locks, strict=True):
            shutil.rmtree(folder.root / "prometheus", ignore_errors=True)
            ends.callback(stop, folder)
            where = apart if case.own_redis else addresses
            stands.append(launch(folder, f"alerts-{case.name}", where, case.chats, case.settings, lock))
        return asyncio.run(_all(stands))


def _forget() -> None:
    for data in ("stack/kafka", "stack/mongodb", "stack/redis", "redis"):
        shutil.rmtree(LOCAL / data, ignore_errors=True)


def main() -> None:
    """Measure and print; exit code 1 when an alert did not fire, or another did."""
    if shutil.which(PROGRAM) is None:
        print(f"{PROGRAM} is not on PATH: install Debian's package of that name", file=sys.stderr)
        raise typer.Exit(_NO_PROMETHEUS)
    missed = []
    for case, found in zip(CASES, measured(), strict=True):
        if isinstance(found, BaseException):
            missed.append(f"{case.name}: {type(found).__name__}: {found}")
            continue
        print(f"{case.induced}: {found.told()}")
        missed += [f"{case.name}: {one}" for one in found.missed]
    for sentence in missed:
        print(sentence, file=sys.stderr)
    print("FAIL" if missed else "PASS: each alert fired by its cause, and by no other's")
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    typer.run(main)
