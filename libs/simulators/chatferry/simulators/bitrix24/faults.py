"""Failures on demand: what, for which methods, how often; drawn from a seed, so that a run can be repeated."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from random import Random

from chatferry.simulators.bitrix24.errors import PortalError
from chatferry.simulators.chance import hits


class FaultKind(StrEnum):
    """What goes wrong. The first two groups hit whole HTTP requests, the last ones single calls, batched or not."""

    QUERY_LIMIT = "query_limit"
    """503 QUERY_LIMIT_EXCEEDED."""
    HTML_502 = "html_502"
    """A page of the proxy instead of JSON."""
    SLOW = "slow"
    """The answer comes `delay_s` real seconds late."""
    CUT_BODY = "cut_body"
    """The connection ends in the middle of the body."""
    RESET = "reset"
    """The connection is reset before any answer."""
    SERVER_ERROR = "server_error"
    """500 INTERNAL_SERVER_ERROR, of a whole request or of one command."""
    OPERATION_LIMIT = "operation_limit"
    """429 OPERATION_TIME_LIMIT, of a whole request or of one command."""
    HALF_BATCH = "half_batch"
    """Commands of a batch fail one by one with INTERNAL_SERVER_ERROR; the rest is answered."""


CALL_KINDS = {FaultKind.SERVER_ERROR: "INTERNAL_SERVER_ERROR", FaultKind.OPERATION_LIMIT: "OPERATION_TIME_LIMIT"}
REQUEST_KINDS = (FaultKind.RESET, FaultKind.QUERY_LIMIT, FaultKind.HTML_502, FaultKind.CUT_BODY, FaultKind.SLOW)


@dataclass(slots=True)
class Fault:
    """One rule. `methods` is a pattern (`im.*`; `batch` is the outer call); `count` None: without end."""

    kind: FaultKind
    methods: str = "*"
    probability: float = 1.0
    count: int | None = None
    delay_s: float = 0.0
    skip: int = 0
    """How many matching calls pass before the rule begins to act."""

    def __post_init__(self) -> None:
        self.kind = FaultKind(self.kind)


class FaultPlan:
    """The rules in force. A rule whose count is used up stays without effect."""

    def __init__(self, random: Random) -> None:
        self.rules: list[Fault] = []
        self.met: Counter[tuple[FaultKind, str]] = Counter()
        """How often each kind was given to each method since the start."""
        self._random = random

    def add(self, fault: Fault) -> None:
        self.rules.append(fault)

    def clear(self) -> None:
        self.rules.clear()

    def request(self, method: str, given: Counter[str]) -> Fault | None:
        """The fault of this HTTP request, if any; counted in `given`."""
        return self._draw(method, REQUEST_KINDS, given) if self.rules else None

    def refuse(self, method: str, given: Counter[str]) -> None:
        """Raises the PortalError that this call, batched or not, is to fail with."""
        fault = self._draw(method, tuple(CALL_KINDS), given) if self.rules else None
        if fault is not None:
            raise PortalError(CALL_KINDS[fault.kind])

    def refuse_command(self, method: str, given: Counter[str]) -> None:
        """Raises the PortalError that this command of a batch is to fail with."""
        if self.rules and self._draw(method, (FaultKind.HALF_BATCH,), given) is not None:
            raise PortalError("INTERNAL_SERVER_ERROR")

    def _draw(self, method: str, kinds: tuple[FaultKind, ...], given: Counter[str]) -> Fault | None:
        for fault in self.rules:
            if (
                fault.kind in kinds
                and fault.count != 0
                and fnmatchcase(method, fault.methods)
                and hits(fault, self._random)
            ):
                given[fault.kind] += 1
                self.met[fault.kind, method] += 1
                return fault
        return None
