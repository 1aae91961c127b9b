"""Which offsets of a batch are finished, and how far each partition may be committed."""

from __future__ import annotations

from collections.abc import Iterable

from chatferry.common.streaming.records import Partition, RawRecord


class Progress:
    """Records of one poll, finished in any order; a commit never passes an unfinished one."""

    __slots__ = ("_next", "_open")

    def __init__(self, records: Iterable[RawRecord]) -> None:
        # Plain tuples equal a Partition, and cost half of it; this runs once for each record.
        offsets: dict[tuple[str, int], set[int]] = {}
        for record in records:
            where = (record.topic, record.partition)
            if where not in offsets:
                offsets[where] = set()
            offsets[where].add(record.offset)
        self._open = {Partition(*where): found for where, found in offsets.items()}
        self._next = {partition: max(found) + 1 for partition, found in self._open.items()}

    def finish(self, records: Iterable[RawRecord]) -> None:
        """These are imported, parked or dead: nothing more has to happen from their offsets."""
        for record in records:
            self._open[(record.topic, record.partition)].discard(record.offset)  # type: ignore[index]

    def committable(self) -> dict[Partition, int]:
        """Per partition the offset that a commit may name: the first unfinished one, or the one after the last."""
        return {partition: min(open_, default=self._next[partition]) for partition, open_ in self._open.items()}

    def unfinished(self) -> dict[Partition, int]:
        """Per partition with unfinished records, the offset to go back to."""
        return {partition: min(open_) for partition, open_ in self._open.items() if open_}
