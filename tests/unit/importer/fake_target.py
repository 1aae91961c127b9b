"""A target that keeps what it is sent by the protocol's version rule, and can be told to misbehave."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.importer.faults import Faults

from chatferry.common.contracts.target import ItemResult
from chatferry.common.entities import Entity
from chatferry.importer.domain.records import ImportRecord, Line
from chatferry.importer.ports import CallFailedError, Trouble


class FakeTarget:
    """Port `Target`. `errors`: key -> how many times it fails, and whether that is temporary.

    `holds`: what follows a temporary error in its chat is not tried. `parents`: chats that messages may name; None
    for any. `unwritable`: reads work and what is there is `unchanged`, but a write is answered by "items" or by "call".
    `told_s`: the time after which a call that failed may come again; not told for what is `poison` and `untold`.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.stored: dict[str, int] = {}
        self.order: list[tuple[str, int]] = []
        self.errors: dict[str, tuple[int, bool]] = {}
        self.poison: set[str] = set()
        self.untold: set[str] = set()
        self.told_s: float | None = None
        self.away: Trouble | None = None
        self.unwritable: str | None = None
        self.holds = True
        self.parents: set[int] | None = None
        self.calls: list[list[str]] = []

    async def send(self, entity: Entity, records: Sequence[ImportRecord]) -> list[ItemResult]:
        if self.away is not None:
            raise CallFailedError(self.away, "target.away", "away")
        self._faults.before("call")
        self.calls.append([record.key for record in records])
        if poison := self.poison.intersection(record.key for record in records):
            told_s = self.told_s if poison - self.untold else None
            raise CallFailedError(Trouble.SHAKY, "target.http_500", "poisoned", told_s)
        if self.unwritable == "call" and any(self.stored.get(r.key, 0) < r.version for r in records):
            raise CallFailedError(Trouble.SHAKY, "target.http_500", "read only", self.told_s)
        results = []
        coming_again: set[Line] = set()
        for record in records:
            if self.holds and record.line in coming_again:
                results.append(ItemResult(key=record.key, status="error", code="BEHIND", retryable=True))
                continue
            results.append(self._take(entity, record))
            if results[-1].status == "error" and results[-1].retryable is not False:
                coming_again.add(record.line)
        self._faults.done()
        return results

    async def probe(self, entity: Entity) -> None:
        if self.away is not None:
            raise CallFailedError(self.away, "target.away", "away")

    def _take(self, entity: Entity, record: ImportRecord) -> ItemResult:
        times, temporary = self.errors.get(record.key, (0, False))
        if times:
            self.errors[record.key] = (times - 1, temporary)
            return ItemResult(key=record.key, status="error", code="NO", retryable=temporary)
        if self.parents is not None and entity.parent is not None and record.line.parent not in self.parents:
            return ItemResult(key=record.key, status="error", code="PARENT_MISSING", retryable=False)
        before = self.stored.get(record.key, 0)
        if self.unwritable == "items" and before < record.version:
            return ItemResult(key=record.key, status="error", code="READ_ONLY", retryable=True)
        if before >= record.version:
            return ItemResult(
                key=record.key, status="unchanged" if before == record.version else "stale", id=f"t{record.key}"
            )
        self.stored[record.key] = record.version
        self.order.append((record.key, record.version))
        return ItemResult(key=record.key, status="updated" if before else "created", id=f"t{record.key}")
