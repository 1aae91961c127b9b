"""Which offsets of a batch are finished, how far each partition may be committed, and what is to be committed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from chatferry.common.streaming.records import Partition, RawRecord, partition_of


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


class Offsets:
    """What one assignment has to commit. It never takes the group back behind what is committed.

    A batch may outlive the assignment that it was polled under: the group may have come further by then, and nobody
    would commit that again before the next record.
    """

    __slots__ = ("_reached", "_wanted")

    def __init__(self) -> None:
        self._reached: dict[Partition, int] = {}
        self._wanted: dict[Partition, int] = {}

    def to_commit(self, offsets: Mapping[Partition, int], owned: Collection[Partition]) -> dict[Partition, int]:
        """What of these, and of those before that were not committed, takes the group further."""
        for partition, offset in offsets.items():
            self._wanted[partition] = max(offset, self._wanted.get(partition, 0))
        reached = self._reached
        self._wanted = {p: o for p, o in self._wanted.items() if p in owned and o > reached.get(p, 0)}
        return dict(self._wanted)

    def beyond(self, records: Iterable[RawRecord]) -> list[RawRecord]:
        """Those of the records that the group has not finished, committed or not yet."""
        finished = {p: max(offset, self._wanted.get(p, 0)) for p, offset in (self._wanted | self._reached).items()}
        return [record for record in records if record.offset >= finished.get((record.topic, record.partition), 0)]  # type: ignore[call-overload]

    def begin_anew(self, records: Iterable[RawRecord]) -> dict[Partition, int]:
        """Where one of the records is finished, nothing of its partition is from now on: the place has another record.

        Where the group stood there.
        """
        stood = {}
        for partition in {partition_of(record) for record in records if not self.beyond([record])}:
            stood[partition] = max(self._reached.pop(partition, 0), self._wanted.pop(partition, 0))
        return stood

    def standing(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """How far the group has come in each."""
        return {one: max(self._reached.get(one, 0), self._wanted.get(one, 0)) for one in partitions}

    def reached(self, committed: Mapping[Partition, int]) -> None:
        """The group stands here."""
        self._reached.update(committed)

    def refused(self) -> None:
        """Somebody else owns these partitions now."""
        self._wanted.clear()
