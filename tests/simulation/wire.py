"""Everything that a process asks of another part: a request goes out, takes effect, is answered; each may go wrong.

The wire picks by chance, from the seed, which request under way takes effect or is answered next. A request of a
process that was killed, or that nobody waits for any more, may still take effect.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.loop import Host, Loop

Effect = Callable[[], Any]
_TIME_FIRST, _ANSWER_LATER, _LOST_WITH_PROCESS = 0.04, 0.2, 0.5
_REQUEST_S, _LONG_S = 0.004, 4.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with the request number `at`; `seconds` for those that last.

    fail_before, fail_after, fail_between   the answer is an error; it took no effect, or effect, or one in part
    late                                    the answer is an error, and it takes effect some time afterwards
    slow                                    it takes that long
    away                                    the part is away that long, for everybody
    kill_before, kill_after                 the process dies; its other requests may take effect yet
    freeze                                  the process stands still that long
    """

    at: int
    kind: str
    seconds: float = 0.0


FAULTS = (
    *("fail_before", "fail_after", "fail_between", "late", "slow", "away"),
    *("kill_before", "kill_after", "freeze"),
)


@dataclass(slots=True, eq=False)
class Request:
    """`effects` happen in order, each at once; the last one's result is the answer. `refuse` makes the error."""

    host: Host
    part: str
    what: str
    effects: Sequence[Effect]
    refuse: Callable[[], Exception]
    answer: asyncio.Future[Any] | None
    fault: Fault | None = None
    result: Any = None
    done: bool = False


@dataclass(slots=True)
class Happenings:
    """What the world does when a fault strikes, and where a trace goes."""

    kill: Callable[[Host], None]
    freeze: Callable[[Host, float], None]
    away: Callable[[str, float], None]
    say: Callable[[str, str], None] | None = None


@dataclass(slots=True)
class Wire:
    """All requests of all hosts. `faults` strike by number."""

    loop: Loop
    chance: random.Random
    faults: dict[int, Fault]
    happenings: Happenings
    count: int = 0
    struck: int = 0
    floating: int = 0
    pending: list[Request] = field(default_factory=list)
    away_until: dict[str, float] = field(default_factory=dict)

    async def ask(
        self, host: Host, of: tuple[str, str], effects: Sequence[Effect], refuse: Callable[[], Exception]
    ) -> Any:
        """`of`: part and what. Returns the answer, or raises what went wrong; a dead host gets no further."""
        if not host.alive:
            raise asyncio.CancelledError
        self.count += 1
        answer = self.loop.create_future()
        self.pending.append(Request(host, *of, effects, refuse, answer, self.faults.get(self.count)))
        return await answer

    def tell(self, host: Host, what: str, effect: Effect) -> None:
        """Something from outside that reaches the host at its own time."""
        self.pending.append(Request(host, "group", what, [effect], RuntimeError, None))

    def step(self) -> None:
        """One request takes effect or is answered, or time passes first."""
        chance = self.chance.random
        if chance() < _TIME_FIRST and self.loop.advance(_LONG_S):
            return
        pending = self.pending
        index = int(chance() * len(pending))
        request, pending[index] = pending[index], pending[-1]
        pending.pop()
        self.loop.pass_by(_REQUEST_S)
        if request.done:
            self._answer(request)
        elif request.fault is not None:
            self._strike(request, request.fault)
        else:
            self._effect(request)
            if chance() < _ANSWER_LATER:
                pending.append(request)
            else:
                self._answer(request)

    def orphans(self) -> bool:
        """Whether requests are under way that nobody waits for."""
        return self.floating > 0 or any(
            one.answer is not None and (not one.host.alive or one.answer.done()) for one in self.pending
        )

    def away(self) -> bool:
        """Whether a part is away now."""
        return any(until > self.loop.time() for until in self.away_until.values())

    def drop_some(self, host: Host) -> None:
        """The host died: some of its requests had not left it yet."""
        lost = [one for one in self.pending if one.host is host and self.chance.random() < _LOST_WITH_PROCESS]
        for one in lost:
            self.pending.remove(one)

    def _effect(self, request: Request, part_of_it: bool = False) -> None:
        request.done = True
        if self.away_until.get(request.part, 0.0) > self.loop.time():
            request.result = request.refuse()
            self._say(request, "is away")
            return
        effects = request.effects
        if part_of_it:
            effects = effects[: self.chance.randint(0, len(effects))]
        loop = self.loop
        before, loop.current = loop.current, request.host
        try:
            for effect in effects:
                request.result = effect()
        except Refusal as refused:
            request.result = refused.error
        finally:
            loop.current = before
        self._say(request, "")

    def _strike(self, request: Request, fault: Fault) -> None:
        self.struck += 1
        request.fault = None
        kind = fault.kind
        self._say(request, f"FAULT {kind} {fault.seconds or ''}")
        if kind == "freeze":
            self.happenings.freeze(request.host, fault.seconds)
            self.pending.append(request)
        elif kind == "away":
            self.happenings.away(request.part, fault.seconds)
            self.pending.append(request)
        elif kind == "slow":
            self._later(request, fault.seconds)
        else:
            self._cut(request, kind)

    def _cut(self, request: Request, kind: str) -> None:
        if request.what == "poll" and kind != "kill_before":
            # What a poll moves is inside the process: it raises, or it moves.
            kind = "fail_before"
        if kind in ("kill_after", "fail_after", "fail_between"):
            self._effect(request, part_of_it=kind == "fail_between")
        if kind.startswith("kill"):
            self.happenings.kill(request.host)
            return
        request.result = request.refuse()
        self._answer(request)
        if kind == "late":
            self._later(request, self.chance.choice((0.0, 0.5, 5.0)))

    def _later(self, request: Request, seconds: float) -> None:
        self.floating += 1

        def again() -> None:
            self.floating -= 1
            self.pending.append(request)

        with self.loop.on(self.loop.outside):
            self.loop.call_later(seconds, again)

    def _answer(self, request: Request) -> None:
        answer, host = request.answer, request.host
        if answer is None or not host.alive or answer.done():
            return
        loop = self.loop
        before, loop.current = loop.current, host
        if isinstance(request.result, Exception):
            answer.set_exception(request.result)
        else:
            answer.set_result(request.result)
        loop.current = before

    def _say(self, request: Request, more: str) -> None:
        if self.happenings.say is not None:
            self.happenings.say(request.host.name, f"{request.part}: {request.what} {more}".rstrip())


class Refusal(Exception):  # noqa: N818
    """The part says no: the request's answer is this error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(repr(error))
        self.error = error
