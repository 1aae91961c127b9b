"""How right counts are, and what that costs at MAX: a real replica, Kafka, MongoDB and Redis, and a MAX platform on
which one chat in a hundred changes each minute. Judged by the platform's own truth and its own count of calls.

`python -m tests.bench.participants_freshness [--seconds N] [--only NAME]` runs all cases beside each other, or those
with this in their names; ten thousand chats are learned in a quarter of an hour, for MAX takes 30 calls a second.
What a hundred cost is watched for two passes over the most active that have nothing to do with learning: 47 minutes.
"""

from __future__ import annotations

import asyncio
import math
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import typer

from chatferry.operator.counting.judging import Seen, Truth
from chatferry.operator.counting.launching import Running, Stage, Wanted, launch_participants
from chatferry.operator.counting.options import Events, Options, Pace
from chatferry.operator.counting.platform import Control, open_control
from chatferry.operator.counting.readers import Api, open_api
from chatferry.operator.demo import bootstrap
from chatferry.operator.folder import Folder
from chatferry.operator.processes import stop
from chatferry.stack import Addresses, LocalStack

LOCAL = Path(__file__).resolve().parents[2] / ".local" / "bench" / "freshness"
_CHANGED_A_MINUTE = 0.01
_MAX_CALLS_A_SECOND = 30
CALLS_A_SECOND = 25
"""What the replicas of `launching.py` are told to make at most."""
_FEW = 100
# What a hundred chats need: each change's read, and four passes an hour over the most active.
_CALLS_AN_HOUR = 155
_UNTRUSTED_S = 300
_LOOK_S = 15.0
# As the service is told: `PARTICIPANTS_UPDATE_INTERVAL`, by default.
_PASS_S = 900
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Case:
    """`settle_s`: after the last chat was learned, and changes began. `messages_per_s`: in all chats together; by them
    chats are among the most active that do not change. `watched_s`: after that, where not until all cases end: as many
    passes over the most active fall into it, whenever it begins."""

    name: str
    chats: int
    events: Events
    settle_s: float
    messages_per_s: float = 0.5
    watched_s: float = 0

    @property
    def optimum(self) -> float:
        """Share of right counts of who does nothing but read all chats in turn, 30 a second: each count is as old as
        the part of the turn since its read, and its chat has changed meanwhile with a chance that grows with it."""
        turn_changes = self.chats / _MAX_CALLS_A_SECOND / 60 * _CHANGED_A_MINUTE
        return (1 - math.exp(-turn_changes)) / turn_changes

    @property
    def turn_s(self) -> float:
        """How long it takes to read all chats in turn, with the calls that are allowed here."""
        return self.chats / CALLS_A_SECOND


CASES = (
    Case("10,000 chats, events on", 10_000, "on", 60),
    Case("10,000 chats, events off", 10_000, "off", 420),
    Case("100 chats, events on", 100, "on", 960, watched_s=2 * _PASS_S),
    # As many in each chat as in those of the ten thousand.
    Case("100 chats, events on, few messages", 100, "on", 960, 0.005, 2 * _PASS_S),
)


@dataclass(slots=True)
class Tally:
    """Served counts: `judged`, and of these the `right`, and those that were right or younger than an hour. `changes`
    of counts, and `calls`, within the `seconds`."""

    judged: int = 0
    right: int = 0
    right_or_young: int = 0
    age_ms: float = 0.0
    calls: int = 0
    changes: int = 0
    most_in_a_second: int = 0
    seconds: float = 0.0
    _truth: Truth = field(default_factory=Truth)

    @property
    def share(self) -> float:
        """Of right counts."""
        return self.right / self.judged

    @property
    def mean_age_s(self) -> float:
        """Of served counts."""
        return self.age_ms / self.judged / 1_000

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds

    async def look(self, control: Control, api: Api) -> None:
        """All that is served now. Right is what was true at any moment of this look, which may take seconds."""
        begun_ms, history = await control.history(self._truth.since_ms)
        self._truth.take(begun_ms, history)
        seen = await api.everything(api.replicas[0])
        ended_ms, history = await control.history(self._truth.since_ms)
        self._truth.take(ended_ms, history)
        for one in seen:
            self._judge(one, begun_ms, ended_ms)

    def _judge(self, one: Seen, begun_ms: float, ended_ms: float) -> None:
        right = None if one.max_chat is None else self._truth.right(one.max_chat, one.count, begun_ms, ended_ms)
        if right is None:
            return
        age_ms = max(0.0, ended_ms - one.updated_ms)
        self.judged += 1
        self.right += right
        self.right_or_young += right or age_ms < _HOUR_MS
        self.age_ms += age_ms


def _measured(case: Case, addresses: Addresses, deadline: float) -> Tally:
    folder = Folder(LOCAL / case.name.replace(" ", "-").replace(",", ""))
    options = Options(chats=case.chats, replicas=1, events=case.events)
    pace = Pace(case.chats * _CHANGED_A_MINUTE / 60, 0, _UNTRUSTED_S, 0, 0.0, case.messages_per_s)
    project = f"fresh-{CASES.index(case)}"
    asyncio.run(bootstrap(addresses, project))
    stage = Stage(project, addresses, None, True, folder.secrets / "max.links")
    try:
        running = launch_participants(folder, stage, Wanted(options, pace), folder.take("a bench"), lambda _: None)
        return asyncio.run(_watched(case, running, deadline))
    finally:
        stop(folder)


async def _learned(case: Case, control: Control, api: Api, deadline: float) -> None:
    wanted = (await control.counts()).keys()
    while True:
        counted = {one.max_chat for one in await api.everything(api.replicas[0]) if one.updated_ms}
        if wanted <= counted:
            return
        assert time.monotonic() < deadline, f"{case.name}: {len(wanted - counted)} of {len(wanted)} are not learned"
        await asyncio.sleep(_LOOK_S / 3)


async def _watched(case: Case, running: Running, deadline: float) -> Tally:
    async with open_control(running.control) as control, open_api(running.replicas, running.key) as api:
        if case.events == "on":
            while not await control.subscribed():  # noqa: ASYNC110 - a platform of its own tells nobody
                await asyncio.sleep(0.5)
            await control.announce()
        await _learned(case, control, api, deadline)
        await control.resume()
        await asyncio.sleep(case.settle_s)
        tally, begun = Tally(), time.monotonic()
        since_ms, _ = await control.history(int(time.time() * 1_000))
        changed = (await control.moves()).total
        ends = begun + case.watched_s if case.watched_s else deadline
        while time.monotonic() < ends:
            await tally.look(control, api)
            await asyncio.sleep(max(0.0, min(_LOOK_S, ends - time.monotonic())))
        calls = await control.calls(since_ms)
        tally.calls, tally.most_in_a_second = calls.total, calls.most_in_a_second
        tally.changes = (await control.moves()).total - changed
        tally.seconds = time.monotonic() - begun
        return tally


def main(seconds: int = 1_620, only: str = "") -> None:
    """Measure and print; exit code 1 when a floor is missed. `--seconds`: learning included."""
    cases = [case for case in CASES if only in case.name]
    if not cases:
        raise typer.BadParameter(f"no case has it in its name: {', '.join(case.name for case in CASES)}")
    stack = LocalStack(LOCAL, announce=lambda _: None)
    addresses = stack.up()
    deadline = time.monotonic() + seconds
    try:
        with ThreadPoolExecutor(len(cases)) as pool:
            found = list(pool.map(lambda case: _measured(case, addresses, deadline), cases))
    finally:
        stack.down()
        for part in ("kafka", "mongodb", "redis"):
            shutil.rmtree(LOCAL / "stack" / part, ignore_errors=True)
    missed = [_told(case, tally) for case, tally in zip(cases, found, strict=True)]
    raise typer.Exit(1 if any(missed) else 0)


def missed(case: Case, tally: Tally) -> list[str]:
    """The floors that a case misses, each in words."""
    floors = _floors_of_turns(case, tally) if case.events == "off" else _floors_of_events(case, tally)
    return [floor for floor, kept in floors.items() if not kept]


def _floors_of_turns(case: Case, tally: Tally) -> dict[str, bool]:
    return {
        f"right: 0.9 of {case.optimum:.4f}, the best that 30 calls a second allow": tally.share >= 0.9 * case.optimum,
        f"{0.9 * CALLS_A_SECOND:.1f} calls a second, 0.9 of those allowed": tally.rate >= 0.9 * CALLS_A_SECOND,
        # Of who does nothing but read all in turn.
        f"mean age {1.1 * case.turn_s / 2:.0f} s, within 10 % of the best": tally.mean_age_s <= 1.1 * case.turn_s / 2,
    }


def _floors_of_events(case: Case, tally: Tally) -> dict[str, bool]:
    floors = {
        "right or younger than an hour: 0.95": tally.right_or_young >= 0.95 * tally.judged,
        "at most 5 calls a second": tally.rate <= 5,
    }
    if case.chats == _FEW:
        floors[f"at most {_CALLS_AN_HOUR} calls an hour"] = tally.rate * 3_600 <= _CALLS_AN_HOUR
    return floors


def _told(case: Case, tally: Tally) -> bool:
    """Print a case; whether it misses a floor."""
    young = tally.right_or_young / tally.judged
    print(f"{case.name}: {tally.judged:,} served counts judged over {tally.seconds:.0f} s, {tally.changes:,} changes")
    print(f"  right {tally.share:.4f}, right or younger than an hour {young:.4f}, mean age {tally.mean_age_s:.0f} s")
    print(f"  calls a second {tally.rate:.2f}, an hour {tally.rate * 3_600:,.0f}, at most {tally.most_in_a_second}")
    floors = missed(case, tally)
    for floor in floors:
        print(f"  misses: {floor}")
    return bool(floors)


if __name__ == "__main__":
    typer.run(main)
