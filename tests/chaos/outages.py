"""Each part away for a while, one by one and all together: progress stops, memory is flat, health names the cause,
no record is blamed, and work goes on soon after the part takes connections again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.frame import Chaos, Passed, Site, chaos_project, slowed
from tests.chaos.processes import accepts
from tests.chaos.proof import prove

from chatferry.operator.runs import Options

NAME = "outages"
_NAMED_WITHIN_S, _RESUMES_WITHIN_S, _STARTS_WITHIN_S = 45.0, 15.0, 60.0
_IN_FLIGHT_S = 2.0
_GROWTH_MIB = 30.0
_SERVICES = ("extractor", "importer", "verifier")


@dataclass(frozen=True, slots=True)
class Part:
    """`process`: who is killed. `named_by`: the services whose /readyz has to name it, and how."""

    process: str
    named_by: Mapping[str, str]
    address: Callable[[Chaos], str]
    stops: Callable[[Chaos], int] | None
    """What must not grow while it is away; None where nobody can look."""


PARTS = (
    Part("chat", {"importer": "target"}, lambda c: c.project.target_url, Chaos.imported),
    Part("portal", {"extractor": "portal"}, lambda c: c.project.portal_url, Chaos.pages),
    Part("redis", {"extractor": "redis"}, lambda c: c.project.redis, Chaos.pages),
    # The extractor goes on reading without Kafka, until it has something to publish.
    Part("kafka", {"importer": "kafka"}, lambda c: c.project.kafka, Chaos.imported),
    Part("mongodb", dict.fromkeys((*_SERVICES, "chat"), "mongodb"), lambda c: c.project.mongodb, None),
)


@dataclass(frozen=True, slots=True)
class Scale:
    """`away_s`: at least so long, and until health names it. `parts`: so many, drawn, go away one by one before all do.
    `end_s`: longest rest of the run after that."""

    messages: int
    chats: int
    page: int
    max_rate: float
    away_s: float
    parts: int
    end_s: float


SHORT = Scale(messages=900, chats=24, page=20, max_rate=1.0, away_s=4.0, parts=2, end_s=300)
LONG = Scale(messages=60_000, chats=600, page=50, max_rate=0.8, away_s=120.0, parts=len(PARTS), end_s=1_200)


def disturb(root: Path, seed: int, scale: Scale) -> Passed:
    """Raises AssertionError with the promise that was broken."""
    site = Site("outages", seed, scale.chats, scale.messages, settings=slowed(scale.page))
    with chaos_project(root, site, own_stack=True) as chaos:
        began = time.monotonic()
        run = chaos.in_mid_run(Options(max_rate=scale.max_rate))
        resumed: dict[str, float] = {}
        for parts in [*[[part] for part in chaos.random.sample(PARTS, scale.parts)], list(PARTS)]:
            name = parts[0].process if len(parts) == 1 else "all"
            assert chaos.run(run).get("phase") == "get", f"the reading was over before {name} went away"
            resumed[name] = _take_away(chaos, parts, scale.away_s)
        messages = prove(chaos, chaos.finish(run, scale.end_s))
        assert chaos.database.chat_messages.count_documents({"attempts": {"$gt": 0}}) == 0, "a record was blamed"
        seconds = time.monotonic() - began
    figures = {"messages": messages, "seconds": f"{seconds:.0f}", "away": f"{scale.away_s:.0f}s"}
    return Passed(NAME, seed, {**figures, **{f"resumed-{name}": f"{wait:.1f}s" for name, wait in resumed.items()}})


def _take_away(chaos: Chaos, parts: Sequence[Part], away_s: float) -> float:
    """Seconds from the moment that the last of them took connections until work went on."""
    names = " and ".join(part.process for part in parts)
    with chaos.processes.frozen():
        for part in parts:
            chaos.processes.kill(part.process)
        began, memory = time.monotonic(), _memory(chaos)
        highest = dict(memory)
        time.sleep(_IN_FLIGHT_S)
        visible = [part.stops for part in parts if part.stops] if _all_but_mongodb(parts) else []
        stood = [look(chaos) for look in visible]
        chaos.until(lambda: _named(chaos, parts), f"health names {names}", _NAMED_WITHIN_S)
        while time.monotonic() - began < away_s:
            assert _named(chaos, parts), f"health forgot that {names} is away: {_health(chaos)}"
            highest = {name: max(highest.get(name, 0.0), size) for name, size in _memory(chaos).items()}
            time.sleep(0.5)
        assert [look(chaos) for look in visible] == stood, f"something moved while {names} was away"
        grown = {name: size - memory[name] for name, size in highest.items() if name in memory}
        assert max(grown.values(), default=0) <= _GROWTH_MIB, f"memory grew while {names} was away: {grown}"
        before = chaos.pages(), chaos.imported()
    chaos.until(lambda: all(accepts(part.address(chaos)) for part in parts), f"{names} is back", _STARTS_WITHIN_S)
    back = time.monotonic()
    if -1 in before:
        # What was there could not be seen while MongoDB was away: more has to come than what it shows first.
        chaos.until(lambda: -1 not in (chaos.pages(), chaos.imported()), "MongoDB answers", _RESUMES_WITHIN_S)
        before = chaos.pages(), chaos.imported()
    wanted = [look for look in (Chaos.pages, Chaos.imported) if any(part.stops in (look, None) for part in parts)]
    floors = dict(zip((Chaos.pages, Chaos.imported), before, strict=True))
    what = f"work after {names} is back, with more than {before[0]} pages and {before[1]} messages"
    left = _RESUMES_WITHIN_S - (time.monotonic() - back)
    chaos.until(lambda: all(look(chaos) > floors[look] for look in wanted), what, left)
    return time.monotonic() - back


def _all_but_mongodb(parts: Sequence[Part]) -> bool:
    return all(part.stops is not None for part in parts)


def _health(chaos: Chaos) -> dict[str, dict[str, str]]:
    return {name: chaos.wrong(name) for name in (*_SERVICES, "chat")}


def _named(chaos: Chaos, parts: Sequence[Part]) -> bool:
    """A service cannot name what it does not come to ask for while something before it is away: any part will do
    where several are."""
    health = _health(chaos)
    if len(parts) > 1:
        away = {name for part in parts for name in part.named_by.values()}
        return all(away & health[name].keys() for name in ("extractor", "importer", "verifier"))
    return all(name in health[service] for service, name in parts[0].named_by.items())


def _memory(chaos: Chaos) -> dict[str, float]:
    """Resident memory in MiB of the services that live."""
    processes = {name: chaos.processes.find(name) for name in _SERVICES}
    return {name: process.memory_info().rss / 2**20 for name, process in processes.items() if process}
