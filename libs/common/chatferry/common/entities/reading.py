"""How a portal is asked and its answers are understood: pure parts of an entity's declaration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

PAGE = 50
_LARGEST = 2**53


@dataclass(frozen=True, slots=True)
class Command:
    """One method call. `label` names its answer inside a batch; it is never a number (reference: bitrix24.md §3).

    `entity`: whose records are read by it, where any are; attempts are counted under it.
    """

    label: str
    method: str
    params: Mapping[str, Any]
    entity: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command has no result. `code` is the portal's own; `later_s`: it may be asked again after so long."""

    code: str
    transient: bool
    later_s: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one command: a result, or a refusal. `size`: its share of the response, in bytes."""

    result: Any = None
    refusal: Refusal | None = None
    total: int | None = None
    next: int | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """How one webhook sees a root record: `webhook` is its owner's id, `ref` the record's name there."""

    webhook: int
    ref: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """A canonical payload, and what had to be done to get it (`altered`, `assumed_offset`, `partial_participants`)."""

    payload: dict[str, Any]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A page of one walk: the ids from `lo` to before `hi` are known now. `users`: raw users that came with it."""

    lo: int
    hi: int
    rows: Sequence[Mapping[str, Any]]
    unidentified: Sequence[Any] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
    users: Sequence[Mapping[str, Any]] = ()


@dataclass(slots=True)
class Harvest:
    """What one batch brought a walk. `root`: the root's parts, once they are all in.

    `used`: how many of the commands told something; the others were asked in vain.
    """

    pages: list[Page] = field(default_factory=list)
    root: Mapping[str, Any] | None = None
    users: list[Mapping[str, Any]] = field(default_factory=list)
    refusal: Refusal | None = None
    ended: bool = False
    used: int = 0


class Walk(Protocol):
    """Reads one root record and its children, or a list. Pure: it is asked for commands and told their answers."""

    def plan(self, room: int, label: str) -> list[Command]:
        """The next commands, at least one and at most `room`; later ones may refer to earlier ones of this list."""

    def absorb(self, answers: Sequence[Answer]) -> Harvest:
        """Take the answers to the last plan, in its order. A refusal leaves the walk where it was."""

    def needs(self) -> int:
        """The smallest room that `plan` can use."""

    def state(self) -> dict[str, Any]:
        """What has to be stored to go on from here in another process."""


@dataclass(frozen=True, slots=True)
class Understanding:
    """What every parser is told: the portal's offset (`+03:00`) for dates that have none."""

    offset: str


Parser = Callable[[Mapping[str, Any], Mapping[str, Any], Understanding], Parsed]
"""(raw row, extras of its page, understanding) -> Parsed. Raises RejectError for a row that has no canonical form."""


@dataclass(frozen=True, slots=True)
class Strangers:
    """How users that records mention, and the listing lacks, are asked for. `entity`: whose records they become."""

    entity: str
    method: str
    command: Callable[[Sequence[int], str], Command]
    rows: Callable[[Any], Iterable[Mapping[str, Any]]]
    parse: Parser


@dataclass(frozen=True, slots=True)
class WalkOrder:
    """What a root's walk is started with: its id, the webhook's view, limits, and where an earlier process left it."""

    seq: int
    view: View
    method: str | None
    page_size: int
    newest: int | None
    state: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a family is read.

    `methods`: what the webhook must be able to call. `planned`: (planning name, real method) for the children, the
    first that the portal has is used. `listings` gives, for a webhook's owner, walks over the list of roots. `row`:
    (id, view) of a listed row, None when it names no record; `traits` then gives by what that row is known again in the
    next list, empty when it says nothing of the kind. Without `walk` a listed row is the whole record, and the first
    webhook's list is everybody's (`every_webhook` false). `bury`: the tombstone of a child that the portal lost.
    `strangers`: how users are asked for whom nobody listed, where records mention any or the family is theirs.
    """

    methods: tuple[str, ...]
    listings: Callable[[int], Sequence[tuple[str, Walk]]]
    row: Callable[[Mapping[str, Any], int], tuple[int, View] | None]
    traits: Callable[[Mapping[str, Any], int], Mapping[str, Any]]
    every_webhook: bool
    parse_root: Parser
    planned: tuple[str, str] | None = None
    walk: Callable[[WalkOrder], Walk] | None = None
    parse_child: Parser | None = None
    bury: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    strangers: Strangers | None = None


def rows_of(value: Any) -> list[Any]:
    """A PHP list: it may come as an array, as an object with numeric keys, or as [] for "nothing"."""
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping):
        return list(value.values())
    return []


def map_of(value: Any) -> Mapping[str, Any]:
    """A PHP map: `[]` when empty, an object when filled."""
    if type(value) is dict:  # the way of nearly every value; asking for Mapping costs ten times as much
        return value
    return value if isinstance(value, Mapping) else {}


def whole(value: Any) -> int | None:
    """An id that may come as a number or as digits; 0, empty, above 2^53 and anything else are None."""
    if type(value) is int:
        return value if 0 < value <= _LARGEST else None
    if isinstance(value, str) and len(value) <= 16 and value.isascii() and value.isdigit():
        return whole(int(value))
    return None


def usable_name(value: Any) -> bool:
    """Whether a row can be asked for by it: `chat1489`, 547. An empty text, 0 and a boolean name nothing."""
    return isinstance(value, int | str) and not isinstance(value, bool) and bool(value)


def counter(value: Any) -> int | None:
    """A number from 0 to 2^53, as a number or as digits; None for anything else."""
    return 0 if value in (0, "0") and value is not False else whole(value)


def wholes(value: Any) -> list[int]:
    """Ids in order, each once."""
    return sorted({number for item in rows_of(value) if (number := whole(item)) is not None})


def text_or_none(value: Any) -> str | None:
    """A profile text: what is empty was not said."""
    return value if isinstance(value, str) and value else None
