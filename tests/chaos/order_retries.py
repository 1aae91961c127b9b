"""Order under retries: records of which 5 % fail for a while; what is dead of it holds its chat, nothing overtakes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.chaos.faulty_target import Faults, FaultyTarget, Seen
from tests.chaos.frame import Chaos, Passed, Site, chaos_stack, project_on
from tests.chaos.in_turn import share_below, waits_ms, write_portal
from tests.chaos.letters import died, held, prove_at_last, replay_all
from tests.chaos.proof import prove

from chatferry.operator.runs import Options

NAME = "order-under-retries"
_SHARE, _MOST, _LIMIT = 0.05, 5, 3
_ENTITIES = ("chats", "chat_messages")


@dataclass(frozen=True, slots=True)
class Scale:
    """`each`: messages of a chat. `delays`: before attempts 2 and 3. `pairs`: runs without and with faults, in turn;
    none: one with faults alone. `slower`: how much longer healthy chats may wait."""

    chats: int
    each: int
    delays: str
    max_rate: float | None
    pairs: int
    slower: float
    end_s: float


SHORT = Scale(80, 8, "[0.4, 1.0]", None, 0, 0, end_s=90)
LONG = Scale(500, 20, "[2.0, 6.0]", 2.0, 3, 1.5, end_s=400)


def disturb(root: Path, seed: int, scale: Scale) -> Passed:
    """Raises AssertionError with what was lost, doubled, overtaken, or slower than it may be."""
    data = write_portal(root / "portal", seed, scale.chats, scale.each)
    figures: dict[str, object] = {}
    ratios: list[float] = []
    with chaos_stack(root) as addresses, FaultyTarget(root) as target:
        settings = {**target.settings, "CHATFERRY_RETRY_DELAYS_SECONDS": scale.delays}
        for pair in range(max(scale.pairs, 1)):
            wanted = [True] if scale.pairs == 0 else [pair % 2 == 1, pair % 2 == 0]
            p99: dict[bool, int] = {}
            for faulty in wanted:
                faults = Faults(seed, _SHARE, _MOST)
                seen = target.begin_anew(faults if faulty else None)
                site = Site(f"order-{pair}-{'faulty' if faulty else 'well'}", seed, data=data, settings=settings)
                with project_on(root, addresses, site) as chaos:
                    if faulty:
                        figures = _with_faults(chaos, scale, faults, seen)
                    else:
                        _without(chaos, scale)
                    p99[faulty] = share_below(waits_ms(chaos, _healthy(chaos, faults)), 0.99)
            figures["healthy-p99"] = f"{p99[True]}ms"
            if scale.pairs:
                ratios.append(p99[True] / p99[False])
    if ratios:
        shown = "/".join(f"{one:.2f}" for one in ratios)
        assert median(ratios) <= scale.slower, f"healthy chats wait {shown} times as long as without faults"
        figures["p99-ratio"] = f"{median(ratios):.2f} ({shown})"
    return Passed(NAME, seed, figures)


def _without(chaos: Chaos, scale: Scale) -> None:
    assert chaos.migrate("users")["state"] == "verified"
    prove(chaos, chaos.migrate("chats", scale.end_s, Options(max_rate=scale.max_rate)))


def _with_faults(chaos: Chaos, scale: Scale, faults: Faults, seen: Seen) -> dict[str, object]:
    began = time.monotonic()
    assert chaos.migrate("users")["state"] == "verified"
    run = chaos.migrate("chats", scale.end_s, Options(max_rate=scale.max_rate))
    assert run["state"] != "verified", "verified with dead letters"
    assert held(chaos), chaos.story()
    replays = replay_all(chaos, "exhausted", scale.end_s)
    expected = _fail(chaos, faults)
    exhausted = {key: 1 for key, times in expected.items() if times >= _LIMIT}
    assert died(chaos, "exhausted") == exhausted, "other records died than those that failed too often"
    assert seen.inversions() == 0
    messages = prove_at_last(chaos, scale.end_s)
    assert seen.messages() == messages == scale.chats * scale.each
    assert seen.inversions() == 0
    assert seen.failed == expected, "an answer about a record was not taken for an attempt of it"
    return {
        "messages": messages,
        "seconds": f"{time.monotonic() - began:.0f}",
        "failed": len(expected),
        "exhausted": len(exhausted),
        "replays": len(replays),
        "inversions": seen.inversions(),
    }


def _fail(chaos: Chaos, faults: Faults) -> Mapping[str, int]:
    """How often each record fails that does."""
    return {
        key: times
        for entity in _ENTITIES
        for key, times in faults.among(row["_id"] for row in chaos.database[entity].find({}, {"_id": 1})).items()
    }


def _healthy(chaos: Chaos, faults: Faults) -> set[int]:
    """Chats in which nothing fails."""
    failing = list(_fail(chaos, faults))
    ill = set(chaos.database.chat_messages.distinct("parent", {"_id": {"$in": failing}}))
    ill |= set(chaos.database.chats.distinct("seq", {"_id": {"$in": failing}}))
    return set(chaos.database.chats.distinct("seq")) - ill
