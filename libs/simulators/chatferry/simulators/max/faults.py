"""Failures on demand: what, on which paths and chats, how often; drawn from a seed, so that a run can be repeated."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from random import Random

from chatferry.simulators.chance import hits
from chatferry.simulators.max.errors import ApiError


class FaultKind(StrEnum):
    UNAUTHORIZED = "unauthorized"
    """verify.token, with 401 or 403 as the platform was set."""
    DENIED = "denied"
    """403 chat.denied."""
    NOT_FOUND = "not_found"
    """404."""
    RATE_LIMIT = "rate_limit"
    """429; with Retry-After where `retry_after_s` is given."""
    SERVER_ERROR = "server_error"
    """500."""
    UNAVAILABLE = "unavailable"
    """503."""
    HTML_502 = "html_502"
    """A page of the proxy instead of JSON."""
    NOT_JSON = "not_json"
    """200 with a page instead of JSON."""
    SLOW = "slow"
    """The answer, which says what was true at the request, comes `delay_s` real seconds late."""
    CUT_BODY = "cut_body"
    """The connection ends in the middle of the body."""
    RESET = "reset"
    """The connection is reset before any answer."""


REFUSING = {
    FaultKind.UNAUTHORIZED: "verify.token",
    FaultKind.DENIED: "chat.denied",
    FaultKind.NOT_FOUND: "not.found",
    FaultKind.RATE_LIMIT: "too.many.requests",
    FaultKind.SERVER_ERROR: "internal.error",
    FaultKind.UNAVAILABLE: "service.unavailable",
}


@dataclass(slots=True)
class Fault:
    """One rule. `paths` is a pattern over the paths of the log (`/chats/{id}`, `/chats/*`); `count` None: no end."""

    kind: FaultKind
    paths: str = "*"
    chat_id: int | None = None
    """None: whatever the chat."""
    probability: float = 1.0
    count: int | None = None
    skip: int = 0
    """How many matching calls pass before the rule begins to act."""
    delay_s: float = 0.0
    retry_after_s: float | None = None

    def __post_init__(self) -> None:
        self.kind = FaultKind(self.kind)

    def refuse(self, auth_status: int) -> None:
        """Raises ApiError when that is what the fault is."""
        code = REFUSING.get(self.kind)
        if code is not None:
            status = auth_status if self.kind is FaultKind.UNAUTHORIZED else None
            raise ApiError(code, status=status, retry_after_s=self.retry_after_s)


class FaultPlan:
    """The rules in force; the first that hits acts. A rule whose count is used up stays without effect."""

    def __init__(self, random: Random) -> None:
        self.rules: list[Fault] = []
        self.given: Counter[str] = Counter()
        self._random = random

    def add(self, fault: Fault) -> None:
        self.rules.append(fault)

    def clear(self) -> None:
        self.rules.clear()

    def draw(self, path: str, chat_id: int | None) -> Fault | None:
        for fault in self.rules:
            if self._matches(fault, path, chat_id) and hits(fault, self._random):
                self.given[fault.kind] += 1
                return fault
        return None

    def _matches(self, fault: Fault, path: str, chat_id: int | None) -> bool:
        return fault.count != 0 and fault.chat_id in (None, chat_id) and fnmatchcase(path, fault.paths)
