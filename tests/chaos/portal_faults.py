"""Every fault of the portal on every method that is called: nothing lost, nothing doubled, and told for what it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tests.chaos.frame import Chaos, Json, Passed, Site, chaos_project
from tests.chaos.proof import prove

NAME = "portal-faults"
_RUN_S, _NAMED_S = 240.0, 60.0
_WHOLE = ("reset", "html_502", "cut_body", "slow", "query_limit")
_SINGLE = ("server_error", "half_batch", "operation_limit")
_OF_USERS = ("user.get",)
_OF_BOTH = ("profile", "scope", "server.time", "method.get")
_OF_CHATS = ("im.recent.list", "im.dialog.get", "im.dialog.users.list", "im.dialog.messages.get")
_CALLED = (*_OF_USERS, *_OF_BOTH, *_OF_CHATS)
CASES = (
    *((kind, "batch") for kind in (*_WHOLE, "server_error", "operation_limit")),
    *((kind, method) for kind in _SINGLE for method in _CALLED),
)


@dataclass(frozen=True, slots=True)
class Scale:
    """`cases`: how many of all, drawn; None: each. `blocking`: also those that block a method for a minute."""

    messages: int
    chats: int
    cases: int | None
    blocking: bool


SHORT = Scale(messages=300, chats=10, cases=3, blocking=False)
LONG = Scale(messages=2_000, chats=30, cases=None, blocking=True)


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

    def hits(self, kind: str) -> int:
        """How often this kind of fault was given."""
        return int(self.chaos.control.truth()["statistics"]["faults"].get(kind, 0))

    def write(self) -> None:
        """Something new in some chats, so that the next run has something to move."""
        owner = httpx.get(f"{self.chaos.control.url}/truth").json()["webhooks"][0]["user_id"]
        chats = httpx.get(f"{self.chaos.control.url}/truth/{owner}/chats").json()
        for chat in self.chaos.random.sample(chats, min(4, len(chats))):
            self.posted += 1
            author = chat["participant_ids"][0]
            self.chaos.control.change("post", chat_id=chat["id"], author_id=author, text=f"ещё {self.posted}")


def disturb(root: Path, seed: int, scale: Scale) -> Passed:
    """Raises AssertionError with the fault that was not outlived, or was told for another."""
    began = time.monotonic()
    with chaos_project(root, Site("faults", seed, scale.chats, scale.messages)) as chaos:
        portal = Portal(chaos)
        _both_verified(chaos, "before any fault")
        cases = [case for case in CASES if scale.blocking or case[0] != "operation_limit"]
        for kind, method in cases if scale.cases is None else chaos.random.sample(cases, scale.cases):
            _outlived(chaos, portal, kind, method)
        lasting: list[Callable[[Chaos, Portal], None]] = [_is_an_outage, _is_a_limit, _is_a_reason]
        for told_apart in lasting:
            portal.write()
            told_apart(chaos, portal)
            portal.heal()
        run = _both_verified(chaos, "after all faults")
        messages = prove(chaos, run)
        given = chaos.control.truth()["statistics"]["faults"]
    figures = {
        "cases": len(cases) if scale.cases is None else scale.cases,
        "lasting": len(lasting),
        "messages": messages,
        "posted": portal.posted,
        "faults": sum(given.values()),
        "seconds": f"{time.monotonic() - began:.0f}",
    }
    return Passed(NAME, seed, figures)


def _both_verified(chaos: Chaos, when: str) -> Json:
    for family in ("users", "chats"):
        run = chaos.migrate(family, _RUN_S)
        assert run["state"] == "verified", f"{when}: {family} ended {run['state']}: {run.get('reason')}"
    return run


def _outlived(chaos: Chaos, portal: Portal, kind: str, method: str) -> None:
    """A few times in a row is less than the attempts there are: everything arrives all the same."""
    portal.write()
    before = portal.hits(kind)
    portal.set_fault(kind, method, count=2, skip=chaos.random.randrange(2))
    _both_verified(chaos, f"{kind} of {method}")
    assert portal.hits(kind) > before, f"{kind} of {method} was never met: nothing was tried"
    portal.heal()
    assert chaos.imported() == chaos.control.truth()["counts"]["messages"], f"{kind} of {method}"
    assert chaos.database.dead_letters.count_documents({}) == 0, f"{kind} of {method} became a dead letter"


def _is_an_outage(chaos: Chaos, portal: Portal) -> None:
    """No answer at all: health names the portal, no chat is blamed, and work goes on once it answers."""
    assert chaos.migrate("users", _RUN_S)["state"] == "verified"
    kind = chaos.random.choice(("reset", "html_502", "cut_body"))
    portal.set_fault("slow", "batch", count=1)
    run = chaos.ask("chats")
    chaos.until(lambda: chaos.run(run).get("state") == "running", "the run has begun", _NAMED_S)
    portal.set_fault(kind, "*")
    if chaos.under_way(run) and chaos.run(run).get("phase") == "get":
        chaos.until(
            lambda: "portal" in chaos.wrong("extractor") or not chaos.under_way(run), "health names it", _NAMED_S
        )
    portal.heal()
    assert chaos.finish(run, _RUN_S)["state"] == "verified", f"{kind} for a while is an outage"
    _nobody_blamed(chaos)


def _is_a_limit(chaos: Chaos, portal: Portal) -> None:
    """Too many requests: nobody is blamed, nothing is given up, the bucket counts as full."""
    before = portal.hits("query_limit")
    portal.set_fault("query_limit", "*", count=12)
    _both_verified(chaos, "a limit for a while")
    assert portal.hits("query_limit") == before + 12
    _nobody_blamed(chaos)


def _is_a_reason(chaos: Chaos, portal: Portal) -> None:
    """One method of some chats fails for good: those chats are rows with that reason, the rest arrives."""
    method = chaos.random.choice(("im.dialog.get", "im.dialog.users.list", "im.dialog.messages.get"))
    assert chaos.migrate("users", _RUN_S)["state"] == "verified"
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
