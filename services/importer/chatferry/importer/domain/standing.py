"""What is due for a record, by what its document and its family say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from chatferry.common.documents import ERROR_RETRY, IMPORT_ERR, NEW, SKIPPED
from chatferry.importer.domain.records import ImportRecord


@dataclass(frozen=True, slots=True)
class Standing:
    """What the record's document says now."""

    version: int
    status: str
    imported_version: int
    attempts: int
    erred: bool


def outlasting(status: str) -> list[str]:
    """What the same version may have come to meanwhile and keeps, when an importer that is late says this status."""
    return {ERROR_RETRY: [IMPORT_ERR, SKIPPED], IMPORT_ERR: [SKIPPED]}.get(status, [])


class Verdict(Enum):
    """What is due for a record that was read."""

    SEND = auto()
    DONE = auto()
    DEAD = auto()
    SET_ASIDE = auto()
    UNKNOWN = auto()


def has_ended(record: ImportRecord, standing: Standing | None) -> bool:
    """Whether the document says that this version ended without being imported."""
    return standing is not None and standing.version == record.version and standing.status in (IMPORT_ERR, SKIPPED)


def judge(record: ImportRecord, standing: Standing | None, replaying: Collection[str] = ()) -> Verdict:
    """DONE: the target has this version or a newer one. DEAD, SET_ASIDE: it ended, and nobody replays it.

    `replaying`: dead letters (by place) whose replay has no end yet. Of one that has, this is a second copy.
    """
    if standing is None:
        return Verdict.UNKNOWN
    if standing.imported_version >= record.version:
        return Verdict.DONE
    if has_ended(record, standing) and record.envelope.replay_of not in replaying:
        return Verdict.DEAD if standing.status == IMPORT_ERR else Verdict.SET_ASIDE
    return Verdict.SEND


def attempts_before(record: ImportRecord, standing: Standing) -> int | None:
    """Attempts that this version has had; a new version and a replay begin anew, with status NEW.

    None: the document cannot count them, for it holds other content, or an end that an attempt does not take back.
    """
    if standing.version != record.version or standing.status not in (NEW, ERROR_RETRY):
        return None
    return standing.attempts if standing.status == ERROR_RETRY else 0


@dataclass(frozen=True, slots=True)
class FamilyState:
    """What `entities` says of a family. `blocked`: the target refuses it; `halted`: too many of its records died.

    `run`: the one whose Set is open.
    """

    set_open: bool
    blocked: str | None
    halted: str | None = None
    run: str | None = None


def open_families(states: Mapping[str, FamilyState]) -> frozenset[str]:
    """Families that may be delivered now."""
    return frozenset(name for name, state in states.items() if state.set_open and state.halted is None)
