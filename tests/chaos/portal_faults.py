"""Every fault of the portal on every method that is called: nothing lost, nothing doubled, and told for what it is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx
from tests.chaos.frame import Chaos, Json, Passed, Site, chaos_project
from tests.chaos.proof import prove

from chatferry.simulators.bitrix24 import FaultKind

NAME = "portal-faults"
_RUN_S, _NAMED_S = 240.0, 60.0
Case = tuple[str, str]
"""A kind of fault, and the method that it is given to."""

_OF_REQUESTS = ("reset", "html_502", "cut_body", "slow", "query_limit")
_OF_CALLS = ("server_error", "operation_limit")
_OF_COMMANDS = (*_OF_CALLS, "half_batch")
_ALIVE = "server.time"
"""Outside a batch, it is what a portal is asked that has not answered three times."""
_STAGES = (
    ("profile", "scope", "server.time", "method.get"),
    ("user.get",),
    ("im.recent.list",),
    ("im.dialog.get", "im.dialog.users.list", "im.chat.user.list", "im.dialog.messages.get"),
    ("im.user.list.get",),
)
"""Commands that are asked one after the other in a run: a fault of one of each is a run's share of attempts."""
_OFTEN = ("batch", "method.get", *_STAGES[3])
_COMMANDS = frozenset(method for stage in _STAGES for method in stage)
_WHOLE: tuple[Case, ...] = (
    *((kind, "batch") for kind in (*_OF_REQUESTS, *_OF_CALLS)),
    *((kind, _ALIVE) for kind in _OF_REQUESTS),
)
CASES = frozenset((*_WHOLE, *((kind, method) for kind in _OF_COMMANDS for method in _COMMANDS)))


@dataclass(frozen=True, slots=True)
class Scale:
    """`rounds`: how many pairs of runs, drawn; None: as many as every case takes. `in_a_row`: how often each fault is
    given, less than the attempts there are. `blocking`: also the faults that block a method for a minute."""

    messages: int
    chats: int
    rounds: int | None
    in_a_row: int
    blocking: bool


SHORT = Scale(messages=300, chats=10, rounds=2, in_a_row=1, blocking=False)
LONG = Scale(messages=2_000, chats=30, rounds=None, in_a_row=2, blocking=True)


@dataclass(slots=True)
class Portal:
    """The simulator's switches, and what it has done."""

    chaos: Chaos
    posted: int = 0

    def set_fault(self, kind: str, methods: str, **more: Any) -> None:
        """One rule, in force from now on."""
        fault = {"kind": kind, "methods": methods, "delay_s": 0.5 if kind == "slow" else 0.0, **more}
        answer = httpx.post(f"{self.chaos.control.url}/faults", json=fault)
        assert answer.status_code == httpx.codes.OK, answer.text

    def heal(self) -> None:
        """No rule any more."""
        httpx.delete(f"{self.chaos.control.url}/faults").raise_for_status()

    def met(self) -> Counter[Case]:
        """How often each kind of fault was given to each method."""
        given = self.chaos.control.truth()["statistics"]["faults_by_method"]
        return Counter({(row["kind"], row["method"]): row["count"] for row in given})

    def hits(self, kind: str) -> int:
        """How often this kind of fault was given."""
        return sum(count for (given, _), count in self.met().items() if given == kind)

    def asked(self) -> set[str]:
        """Every method that anybody has called; `?` is a look at the portal's door, not a call."""
        told = self.chaos.control.truth()["statistics"]
        return {*told["requests"], *told["commands"]} - {"?"}

    def write(self) -> None:
        """Something new in some chats, so that the next run has something to move."""
        owner = httpx.get(f"{self.chaos.control.url}/truth").json()["webhooks"][0]["user_id"]
        chats = httpx.get(f"{self.chaos.control.url}/truth/{owner}/chats").json()
        for chat in self.chaos.random.sample(chats, min(4, len(chats))):
            self.posted += 1
            author = chat["participant_ids"][0]
            self.chaos.control.change("post", chat_id=chat["id"], author_id=author, text=f"ещё {self.posted}")


def disturb(root: Path, seed: int, scale: Scale) -> Passed:
    """Raises AssertionError with the fault that was not outlived, was told for another, or was never met."""
    began = time.monotonic()
    assert {kind for kind, _ in CASES} == set(FaultKind), "the simulator knows another fault: it is tried nowhere"
    with chaos_project(root, Site("faults", seed, scale.chats, scale.messages)) as chaos:
        portal = Portal(chaos)
        _verified(chaos, "before any fault", "users", "chats")
        drawn = _rounds(chaos, scale)
        for cases in drawn:
            _outlived(chaos, portal, cases, scale.in_a_row)
        tried = {case for cases in drawn for case in cases}
        assert scale.rounds is not None or tried == CASES, f"never tried: {sorted(CASES - tried)}"
        lasting: list[Callable[[Chaos, Portal], None]] = [_is_an_outage, _is_a_limit, _is_a_reason]
        for told_apart in lasting:
            portal.write()
            told_apart(chaos, portal)
            portal.heal()
        run = _verified(chaos, "after all faults", "chats")
        messages = prove(chaos, run)
        met, asked = portal.met(), portal.asked()
    assert tried <= met.keys(), f"never met: {sorted(tried - met.keys())}"
    assert asked == {"batch", *_COMMANDS}, f"called, and broken nowhere: {sorted(asked ^ {'batch', *_COMMANDS})}"
    figures = {
        "cases": f"{len(tried)}/{len(CASES)}",
        "rounds": len(drawn),
        "lasting": len(lasting),
        "messages": messages,
        "posted": portal.posted,
        "faults": met.total(),
        "seconds": f"{time.monotonic() - began:.0f}",
    }
    return Passed(NAME, seed, figures)


def _rounds(chaos: Chaos, scale: Scale) -> list[tuple[Case, ...]]:
    """Each case once: those of whole requests alone, of single commands one of each stage together."""
    kinds = [kind for kind in _OF_COMMANDS if scale.blocking or kind != "operation_limit"]
    stages: list[list[Case]] = [[(kind, method) for kind in kinds for method in stage] for stage in _STAGES]
    whole = [case for case in _WHOLE if scale.blocking or case[0] != "operation_limit"]
    for cases in (*stages, whole):
        chaos.random.shuffle(cases)
    together = [tuple(case for case in cases if case is not None) for cases in zip_longest(*stages)]
    alone = [(case,) for case in whole]
    if scale.rounds is None:
        return [*together, *alone]
    # The first ones hold a case of every stage; one round is of whole requests.
    return [*together[: scale.rounds - 1], alone[0]]


def _verified(chaos: Chaos, when: str, *families: str) -> Json:
    for family in families:
        run = chaos.migrate(family, _RUN_S)
        assert run["state"] == "verified", f"{when}: {family} ended {run['state']}: {run.get('reason')}"
    return run


def _outlived(chaos: Chaos, portal: Portal, cases: Sequence[Case], in_a_row: int) -> None:
    """Less often than there are attempts: everything arrives all the same."""
    names = " and ".join(f"{kind} of {method}" for kind, method in cases)
    portal.write()
    before = portal.met()
    for kind, method in cases:
        if kind in _OF_REQUESTS and method == _ALIVE:
            # Behind the checks, which nobody asks again: a portal that does not answer, and then is asked if it lives.
            portal.set_fault("reset", "batch", count=3, skip=1)
            portal.set_fault(kind, method, count=1)
        else:
            # Of a method that is blocked for a minute, once is as often as anybody can wait for.
            count = 1 if kind == "operation_limit" else in_a_row
            portal.set_fault(kind, method, count=count, skip=chaos.random.randrange(2) if method in _OFTEN else 0)
    _verified(chaos, names, *(("chats",) if cases[0] in _WHOLE else ("users", "chats")))
    after = portal.met()
    portal.heal()
    for case in cases:
        assert after[case] > before[case], f"{case} was never met: nothing was tried"
    assert chaos.imported() == chaos.control.truth()["counts"]["messages"], names
    assert chaos.database.dead_letters.count_documents({}) == 0, f"{names} became a dead letter"
    _nobody_blamed(chaos)


def _is_an_outage(chaos: Chaos, portal: Portal) -> None:
    """No answer at all: health names the portal, no chat is blamed, and work goes on once it answers."""
    kind = chaos.random.choice(("reset", "html_502", "cut_body"))
    # Slow enough to be met in the middle of its reading.
    portal.set_fault("slow", "batch")
    run = chaos.ask("chats")
    chaos.until(lambda: chaos.run(run).get("state") == "running", "the run has begun", _NAMED_S)
    before = portal.hits(kind)
    portal.heal()
    portal.set_fault(kind, "*")
    chaos.until(lambda: "portal" in chaos.wrong("extractor"), "health names the portal", _NAMED_S)
    assert portal.hits(kind) > before, f"{kind} was never met: nothing was tried"
    assert chaos.under_way(run), f"{kind} of every method for a while ended the run"
    portal.heal()
    assert chaos.finish(run, _RUN_S)["state"] == "verified", f"{kind} for a while is an outage"
    _nobody_blamed(chaos)


def _is_a_limit(chaos: Chaos, portal: Portal) -> None:
    """Too many requests: nobody is blamed, nothing is given up, the bucket counts as full."""
    before = portal.hits("query_limit")
    portal.set_fault("query_limit", "*", count=12)
    _verified(chaos, "a limit for a while", "chats")
    assert portal.hits("query_limit") == before + 12
    _nobody_blamed(chaos)


def _is_a_reason(chaos: Chaos, portal: Portal) -> None:
    """One method of some chats fails for good: those chats are rows with that reason, the rest arrives."""
    method = chaos.random.choice(("im.dialog.get", "im.dialog.users.list", "im.dialog.messages.get"))
    portal.set_fault("server_error", method)
    run = chaos.migrate("chats", _RUN_S)
    assert run["state"] == "incomplete", f"{method} fails for good, and the run ended {run['state']}"
    failed = list(chaos.database.source_inventory.find({"kind": "root", "state": "failed"}))
    assert failed, f"{method} fails for good, and no chat says so"
    assert all("INTERNAL_SERVER_ERROR" in row["reason"] for row in failed), failed[0]["reason"]
    assert chaos.database.dead_letters.count_documents({}) == 0


def _nobody_blamed(chaos: Chaos) -> None:
    rows = chaos.database.source_inventory.find({"kind": "root", "state": {"$in": ["failed", "unreadable"]}})
    assert [row["reason"] for row in rows] == []
