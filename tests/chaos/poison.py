"""Poison: what the target refuses for good slows nobody else, and thousands of dead letters are replayed in order."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from tests.chaos.faulty_target import Faults, FaultyTarget
from tests.chaos.frame import Chaos, Passed, Site, chaos_stack, project_on
from tests.chaos.in_turn import header, read_topic, write_portal
from tests.chaos.letters import by_state, died, prove_at_last, replay_all
from tests.chaos.proof import assert_ledger_agrees

from chatferry.operator.runs import Options
from chatferry.stack import Addresses

NAME = "poison"
_SHARE = 0.01
_END_S = 300.0
# What is tried here is how dead letters come and go; their limit has tests of its own.
_NO_LIMIT = {"CHATFERRY_DEAD_SHARE_MAX": "1", "CHATFERRY_DEAD_CONSECUTIVE_MAX": "1000000"}
# What arrived is verified at the very end.
_MOVED = Options(phases=("get", "set"))


@dataclass(frozen=True, slots=True)
class Scale:
    """`pairs`: runs without and with poison, in turn. `slower`: how much longer healthy chats may take. `dead`: letters
    to be replayed within `replay_s`, in chats of `each`."""

    chats: int
    each: int
    pairs: int
    slower: float
    dead: int
    replay_s: float


SHORT = Scale(chats=60, each=20, pairs=1, slower=2.5, dead=1_000, replay_s=30)
LONG = Scale(chats=1_000, each=30, pairs=5, slower=1.05, dead=10_000, replay_s=30)


def disturb(root: Path, seed: int, scale: Scale) -> Passed:
    """Raises AssertionError with what was lost, doubled, out of order or too slow."""
    data = write_portal(root / "portal", seed, scale.chats, scale.each)
    faults = Faults(seed, _SHARE, refused=True, entities=("chat_messages",))
    ratios: list[float] = []
    refused = 0
    with chaos_stack(root) as addresses, FaultyTarget(root) as target:
        for pair in range(scale.pairs):
            took: dict[bool, float] = {}
            for ill in [pair % 2 == 1, pair % 2 == 0]:
                # Drawn in both, so that it is not the drawing that slows one of them.
                target.begin_anew(faults if ill else replace(faults, share=0.0))
                site = Site(f"poison-{pair}-{'ill' if ill else 'well'}", seed, data=data, settings=target.settings)
                with project_on(root, addresses, site) as chaos:
                    took[ill] = _delivered(chaos, faults)
                    refused = max(refused, _assert_refused(chaos, faults if ill else None))
                    assert_ledger_agrees(chaos)
            ratios.append(took[True] / took[False])
        figures = _replay(root, seed, scale, addresses, target)
    shown = "/".join(f"{one:.2f}" for one in ratios)
    assert median(ratios) <= scale.slower, f"healthy chats take {shown} times as long as without poison"
    ratio = f"{median(ratios):.2f} ({shown})" if len(ratios) > 1 else shown
    return Passed(NAME, seed, {"messages": scale.chats * scale.each, "refused": refused, "ratio": ratio, **figures})


def _delivered(chaos: Chaos, faults: Faults) -> float:
    """Seconds from the first record to the last one of a chat in which nothing is refused, all of them being there."""
    assert chaos.migrate("users", options=_MOVED)["state"] == "completed"
    chaos.migrate("chats", _END_S, Options(phases=("get",)))
    assert chaos.imported() == 0
    chaos.migrate("chats", _END_S, Options(phases=("set",)))
    rows = list(chaos.database.chat_messages.find({}, {"parent": 1}))
    ill = {row["parent"] for row in rows if faults.of(row["_id"])}
    healthy = {str(row["parent"]).encode() for row in rows if row["parent"] not in ill}
    results = [
        (record.timestamp, record.key)
        for record in read_topic(chaos.project.kafka, f"{chaos.project.name}.results")
        if header(record, "ce_type") == b"record.imported" and b":chat:" in header(record, "ce_subject")
    ]
    assert {key for _, key in results} >= healthy
    return float(max(at for at, key in results if key in healthy) - min(at for at, _ in results)) / 1_000


def _assert_refused(chaos: Chaos, faults: Faults | None) -> int:
    """Those that were refused died, and only those; all others are there."""
    keys = [row["_id"] for row in chaos.database.chat_messages.find({}, {"_id": 1})]
    expected = dict.fromkeys(faults.among(keys), 1) if faults else {}
    assert died(chaos, "permanent") == expected, "others died than were refused"
    assert by_state(chaos) == ({"dead": len(expected)} if expected else {})
    assert chaos.imported() == len(keys) - len(expected)
    return len(expected)


def _replay(root: Path, seed: int, scale: Scale, addresses: Addresses, target: FaultyTarget) -> dict[str, object]:
    """Every message is refused, then none: how long until all have arrived, and in which order."""
    data = write_portal(root / "refused", seed, scale.dead // 25, 25)
    refused = target.begin_anew(Faults(seed, 1.0, refused=True, entities=("chat_messages",)))
    site = Site("poison-replay", seed, data=data, settings={**target.settings, **_NO_LIMIT})
    with project_on(root, addresses, site) as chaos:
        assert chaos.migrate("users", options=_MOVED)["state"] == "completed"
        chaos.migrate("chats", _END_S, _MOVED)
        assert by_state(chaos) == {"dead": scale.dead}
        assert chaos.imported() == 0
        seen = target.begin_anew(None)
        seen.chats |= refused.chats
        began = time.monotonic()
        replay_all(chaos, "permanent", _END_S)
        spent = time.monotonic() - began
        assert by_state(chaos) == {"replayed": scale.dead}
        assert chaos.imported() == scale.dead == seen.messages()
        assert seen.inversions() == 0
        prove_at_last(chaos, _END_S)
    assert spent <= scale.replay_s, f"{scale.dead} dead letters took {spent:.1f} s"
    return {"replayed": scale.dead, "replay": f"{spent:.1f}s", "inversions": seen.inversions()}
