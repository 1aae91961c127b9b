"""Every fault of the portal on every method that is called: nothing lost, nothing doubled, and told for what it is."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
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
# Longer than the services wait here: an answer that is slow is one that does not come.
_WAITS_S, _SLOW_S = 5.0, 12.0
_SETTINGS = {"CHATFERRY_PORTAL_TIMEOUT_SECONDS": f"{_WAITS_S:g}"}
Case = tuple[str, str]
"""A kind of fault, and the method that it is given to."""

_OF_REQUESTS = ("reset", "html_502", "cut_body", "slow", "query_limit")
_OF_CALLS = ("server_error", "operation_limit")
_OF_COMMANDS = (*_OF_CALLS, "half_batch")
_OF_LIMITS = ("query_limit", "operation_limit")
_CAUSES = {"server_error": "INTERNAL_SERVER_ERROR", "half_batch": "INTERNAL_SERVER_ERROR"}
_LISTS = ("user.get", "im.recent.list")
_LASTING = (*_LISTS, "im.dialog.get", "im.dialog.messages.get")
_LIMITED_S = 8.0
_OUTCOME = re.compile(r'portal_requests_total\{outcome="(\w+)"\} (\S+)')
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
        fault = {"kind": kind, "methods": methods, "delay_s": _SLOW_S if kind == "slow" else 0.0, **more}
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
    with chaos_project(root, Site("faults", seed, scale.chats, scale.messages, settings=_SETTINGS)) as chaos:
        portal = Portal(chaos)
        _verified(chaos, "before any fault", "users", "chats")
        drawn = _rounds(chaos, scale)
        for cases in drawn:
            _outlived(chaos, portal, cases, scale.in_a_row)
        tried = {case for cases in drawn for case in cases}
        assert scale.rounds is not None or tried == CASES, f"never tried: {sorted(CASES - tried)}"
        lasting = _lasting(chaos, scale)
        for case in lasting:
            portal.write()
            _told_apart(chaos, portal, case)
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
    before, outcomes = portal.met(), _outcomes(chaos)
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
    if len(cases) == 1 and cases[0] in _WHOLE:
        _assert_class(cases[0], _outcomes(chaos) - outcomes)
    for case in cases:
        assert after[case] > before[case], f"{case} was never met: nothing was tried"
    assert chaos.imported() == chaos.control.truth()["counts"]["messages"], names
    assert chaos.database.dead_letters.count_documents({}) == 0, f"{names} became a dead letter"
    _nobody_blamed(chaos)


def _assert_class(case: Case, outcomes: Counter[str]) -> None:
    """A whole request that went wrong is counted as what it is, and as nothing else; a page of the proxy is nothing."""
    kind, method = case
    told = {"query_limit": "limited", "server_error": "refused", "operation_limit": "refused", "html_502": None}
    wanted = told.get(kind, "failed")
    # A limit is a refusal too.
    counts = {**outcomes, "refused": outcomes["refused"] - outcomes["limited"]}
    assert wanted is None or counts.get(wanted, 0) > 0, f"{kind} of {method} was taken for {dict(outcomes)}"
    others = {name for name in ("limited", "refused") if name != wanted and counts.get(name, 0) > 0}
    assert others == set(), f"{kind} of {method} was taken for {dict(outcomes)}"


def _lasting(chaos: Chaos, scale: Scale) -> list[Case]:
    """Faults that do not end by themselves: each kind, and those of single commands on a list, the users, a chat and
    its messages; drawn where not all are tried, one of each class."""
    whole: list[Case] = [(kind, "*") for kind in _OF_REQUESTS if kind != "query_limit"]
    single: list[Case] = [(kind, method) for kind in ("server_error", "half_batch") for method in _LASTING]
    limits: list[Case] = [("query_limit", "*"), *(("operation_limit", method) for method in _LASTING)]
    if scale.rounds is None:
        return [*whole, *single, *limits]
    return [chaos.random.choice(whole), limits[0], chaos.random.choice(single)]


def _told_apart(chaos: Chaos, portal: Portal, case: Case) -> None:
    """What lasts is told for what it is: an outage, a limit, or the reason of what it keeps from being read."""
    kind, method = case
    before = portal.met()
    if kind in _CAUSES:
        _is_a_reason(chaos, portal, case)
    elif kind in _OF_LIMITS:
        _is_a_limit(chaos, portal, case)
    else:
        _is_an_outage(chaos, portal, kind)
    given = portal.met() - before
    assert any(one == kind and method in ("*", name) for one, name in given), f"{case} was never met: nothing was tried"


def _begun(chaos: Chaos, portal: Portal) -> str:
    """A run in the middle of its reading: answers come a little later, so that it is met there."""
    portal.set_fault("slow", "batch", delay_s=0.5)
    run = chaos.ask("chats")
    chaos.until(lambda: chaos.run(run).get("state") == "running", "the run has begun", _NAMED_S)
    portal.heal()
    return run


def _is_an_outage(chaos: Chaos, portal: Portal, kind: str) -> None:
    """No answer at all: health names the portal, no chat is blamed, and work goes on once it answers."""
    failed = _outcomes(chaos)["failed"]
    run = _begun(chaos, portal)
    portal.set_fault(kind, "*")
    chaos.until(lambda: "portal" in chaos.wrong("extractor"), "health names the portal", _NAMED_S)
    if kind in ("reset", "cut_body", "slow"):
        assert _outcomes(chaos)["failed"] > failed, f"{kind} is no request that failed"
    assert chaos.under_way(run), f"{kind} of every method for a while ended the run"
    portal.heal()
    assert chaos.finish(run, _RUN_S)["state"] == "verified", f"{kind} for a while is an outage"
    _nobody_blamed(chaos)


def _is_a_limit(chaos: Chaos, portal: Portal, case: Case) -> None:
    """Too many requests, or too much time: nobody is blamed, nothing is given up, no outage is named."""
    kind, method = case
    family = "users" if method == "user.get" else "chats"
    limited, before = _outcomes(chaos)["limited"], portal.hits(kind)
    portal.set_fault(kind, method)
    run = chaos.ask(family)
    chaos.until(lambda: portal.hits(kind) > before, f"{kind} of {method} is met", _RUN_S)
    end = time.monotonic() + _LIMITED_S
    while time.monotonic() < end:
        assert chaos.under_way(run), f"{kind} of {method} ended the run"
        assert "portal" not in chaos.wrong("extractor"), f"{kind} of {method} is no outage"
        time.sleep(0.5)
    assert kind != "query_limit" or _outcomes(chaos)["limited"] > limited, "the limit was taken for something else"
    portal.heal()
    assert chaos.finish(run, _RUN_S)["state"] == "verified", f"{kind} of {method} for a while is a limit"
    _nobody_blamed(chaos)


def _is_a_reason(chaos: Chaos, portal: Portal, case: Case) -> None:
    """One method fails for good. Of a list: the run is blocked, and says which. Of some chats: these are rows with that
    reason, the rest arrives."""
    kind, method = case
    portal.set_fault(kind, method)
    run = chaos.migrate("users" if method == "user.get" else "chats", _RUN_S)
    what = f"{kind} of {method} for good"
    if method in _LISTS:
        assert run["state"] == "blocked", f"{what}, and the run ended {run['state']}"
        assert "cannot be read" in run["reason"], run["reason"]
        assert _CAUSES[kind] in run["reason"], run["reason"]
        _nobody_blamed(chaos)
    else:
        assert run["state"] == "incomplete", f"{what}, and the run ended {run['state']}"
        failed = list(chaos.database.source_inventory.find({"kind": "root", "state": "failed"}))
        assert failed, f"{what}, and no chat says so"
        assert all(_CAUSES[kind] in row["reason"] for row in failed), failed[0]["reason"]
    assert chaos.database.dead_letters.count_documents({}) == 0
    assert "portal" not in chaos.wrong("extractor"), f"{what} is no outage"
    portal.heal()
    _verified(chaos, f"after {what}", "users", "chats")


def _outcomes(chaos: Chaos) -> Counter[str]:
    """Requests to the portal by what became of them, as the extractor counts them."""
    url = (chaos.folder.addresses / "extractor.url").read_text(encoding="utf-8").strip()
    text = httpx.get(f"{url}/metrics/", timeout=10).raise_for_status().text
    return Counter({name: int(float(count)) for name, count in _OUTCOME.findall(text)})


def _nobody_blamed(chaos: Chaos) -> None:
    rows = chaos.database.source_inventory.find({"kind": "root", "state": {"$in": ["failed", "unreadable"]}})
    assert [row["reason"] for row in rows] == []
