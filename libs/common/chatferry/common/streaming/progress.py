"""Which offsets of a batch are finished, and how far each partition may be committed."""

from __future__ import annotations

from collections.abc import Iterable

from chatferry.common.streaming.records import Partition, RawRecord, partition_of


class Progress:
    """Records of one poll, finished in any order; a commit never passes an unfinished one."""

    __slots__ = ("_next", "_open")

    def __init__(self, records: Iterable[RawRecord]) -> None:
        self._open: dict[Partition, set[int]] = {}
        self._next: dict[Partition, int] = {}
        for record in records:
            partition = partition_of(record)
            self._open.setdefault(partition, set()).add(record.offset)
            self._next[partition] = max(self._next.get(partition, 0), record.offset + 1)

    def finish(self, records: Iterable[RawRecord]) -> None:
        """These are imported, parked or dead: nothing more has to happen from their offsets."""
        for record in records:
            self._open[partition_of(record)].discard(record.offset)

    def committable(self) -> dict[Partition, int]:
        """Per partition the offset that a commit may name: the first unfinished one, or the one after the last."""
        return {partition: min(open_, default=self._next[partition]) for partition, open_ in self._open.items()}

    def unfinished(self) -> dict[Partition, int]:
        """Per partition with unfinished records, the offset to go back to."""
        return {partition: min(open_) for partition, open_ in self._open.items() if open_}
