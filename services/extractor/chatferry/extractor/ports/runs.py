"""Leases, runs and families: who drives what, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from chatferry.common.contracts.events import PhaseCompleted, RunProgress
from chatferry.common.entities import Family
from chatferry.common.portal.preflight import Check

RunDocument = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to drive a portal's run. Writes carry `epoch`; a newer one shuts out an older holder."""

    portal: str
    owner: str
    epoch: int


class Leases(Protocol):
    """One driver per portal at a time (data.md §2). Times are MongoDB's own."""

    async def acquire(self, portal: str) -> Lease | None:
        """A lease of a new epoch, or None while another process holds it."""

    async def renew(self, lease: Lease) -> None:
        """LeaseLostError when another process has taken it."""

    async def release(self, lease: Lease) -> None:
        """Let others take it at once."""


class Runs(Protocol):
    """The documents in `runs` and `entities`."""

    async def next(self) -> RunDocument | None:
        """The oldest run that is asked for or under way."""

    async def update(self, run: str, epoch: int, fields: Mapping[str, Any]) -> None:
        """Set fields. LeaseLostError when a newer epoch has written."""

    async def add(self, run: str, epoch: int, amounts: Mapping[str, int]) -> None:
        """Count something of the run, by the names of its fields. LeaseLostError when a newer epoch has written."""

    async def get(self, run: str) -> RunDocument:
        """The run as it is now."""

    async def portals(self) -> set[str]:
        """Hosts of the portals that runs have begun to read."""


class FamilyStates(Protocol):
    """The collection `entities`: what has been reached for a family."""

    async def entity(self, family: str) -> Mapping[str, Any]:
        """A family's state; empty when there is none."""

    async def set_entity(self, family: str, epoch: int, fields: Mapping[str, Any]) -> None:
        """Set fields of it. LeaseLostError when a newer epoch has written."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a Set has left. `parked` of it wait in line, `stuck` behind a dead parent, which only a replay moves.

    `blocked`: why the importer moves none.
    """

    waiting: int
    parked: int
    stuck: int
    blocked: str | None


class Progress(Protocol):
    """What MongoDB says of a run's progress."""

    async def settled(self, family: Family) -> bool:
        """Whether no record waits to be imported. Cheap."""

    async def waiting(self, family: Family) -> Waiting:
        """What is left, counted."""

    async def counts(self, family: Family) -> dict[str, dict[str, int]]:
        """Per entity: extracted, imported, dead, waiting."""

    async def report(self, run: str, asked_at: datetime) -> dict[str, Any] | None:
        """The verifier's finished answer to this request."""


class Tally(Protocol):
    """What a subscriber is told while records move."""

    async def counts(self, family: Family, run: str) -> dict[str, dict[str, int]]:
        """Per entity, as `chatferry status` shows them. Cheap."""


class Storage(Protocol):
    """What a run stands on."""

    async def checks(self, family: Family) -> list[Check]:
        """`infra.storage.ready` and `mapping.done`."""


class Events(Protocol):
    """The `runs` topic."""

    async def completed(self, event: PhaseCompleted) -> None:
        """Tell subscribers that a phase is over. OutageError."""

    async def progress(self, event: RunProgress) -> None:
        """Tell subscribers how far the run is. OutageError."""
