"""Which of the parked rows are taken up now: the line that waits longest first, and none by itself all the room."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chatferry.common.entities import Entity
from chatferry.common.streaming.records import Partition, RawRecord
from chatferry.importer.domain.records import Line
from chatferry.importer.gate import Gate
from chatferry.importer.lines import Lines
from chatferry.importer.ports import ParkedRow, ParkedView, Room

_LINES_AT_ONCE = 500


@dataclass(slots=True)
class Taken:
    """`rows`: line by line, by offset. `unread`: lines that have (or may have) more. `replayed`: lines of which replays
    alone were taken."""

    rows: list[ParkedRow] = field(default_factory=list)
    unread: set[Line] = field(default_factory=set)
    replayed: set[Line] = field(default_factory=set)

    @property
    def lines(self) -> set[Line]:
        """Whose rows these are."""
        return {line_of(row.raw) for row in self.rows}


class Drainage:
    """Remembers which lines had more rows than there was room for: these come after the others, one by one.

    Half of the room is kept for them once one of them waits longest, or all were passed over.
    """

    def __init__(self, parked: ParkedView, gate: Gate, lines: Lines, topics: Mapping[str, Entity]) -> None:
        self._parked, self._gate, self._lines, self._topics = parked, gate, lines, topics
        self._long: set[Line] = set()
        self._passed_over = False

    def forget(self) -> None:
        """What waits is learned anew."""
        self._long.clear()

    async def take(self, now: float, open_topics: Collection[str], room: Room) -> Taken:
        """Rows of lines that may go and whose first row is due, as much as there is room for."""
        ready, held = await self._ready(now, open_topics)
        taken = Taken()
        for lines in _by_partition([line for line in ready if line in held]):
            await self._read_replays(lines, now, room, taken)
        ready = [line for line in ready if line not in taken.replayed]
        long = [line for line in ready if line in self._long]
        kept = long and (self._passed_over or long[:1] == ready[:1])
        part = Room(room.rows // 2, room.size_bytes // 2) if kept else room
        # The partition in which a line waits longest comes first: where there is not room for all, none is left out
        # each time.
        for lines in _by_partition([line for line in ready if line not in self._long]):
            part = await self._read(lines, now, part, taken)
        used = sum(len(row.raw.value or b"") for row in taken.rows)
        rest = Room(room.rows - len(taken.rows), room.size_bytes - used)
        for line in long:
            rest = await self._read([line], now, rest, taken)
        self._passed_over = bool(long) and taken.lines.isdisjoint(long)
        return taken

    async def _ready(self, now: float, open_topics: Collection[str]) -> tuple[list[Line], set[Line]]:
        due = self._lines.due(now, open_topics, _LINES_AT_ONCE)
        gated = self._lines.at_gate(open_topics, _LINES_AT_ONCE)
        passable, held = await self._gate.passable(due, gated, self._topics)
        for line in set(due) - set(passable):
            self._lines.leave(line)
            self._lines.wait_at_gate(line)
        return passable, held

    async def _read_replays(self, lines: Sequence[Line], now: float, room: Room, taken: Taken) -> None:
        """Of lines of one partition that a dead record holds, replays go ahead, however many wait for them. Where there
        is none, what is due is a row that has ended, only to be dropped yet."""
        partition, by_parent = Partition(lines[0].topic, lines[0].partition), {line.parent: line for line in lines}
        rows, cut = await self._parked.rows(partition, list(by_parent), room, replays=True)
        firsts = _firsts(rows)
        for parent, line in by_parent.items():
            if parent in firsts or (cut is not None and parent >= cut):
                taken.replayed.add(line)
            if parent in firsts and not self._lines.has_come(firsts[parent].not_before, now):
                self._lines.wait_until(line, firsts[parent].not_before)
        taken.rows += self._due(rows, firsts, now)

    async def _read(self, lines: Sequence[Line], now: float, room: Room, taken: Taken) -> Room:
        """Read rows of these lines, of one partition; what room is left."""
        if room.rows <= 0 or room.size_bytes <= 0:
            return room
        partition = Partition(lines[0].topic, lines[0].partition)
        by_parent = {line.parent: line for line in lines}
        rows, cut = await self._parked.rows(partition, list(by_parent), room)
        firsts = _firsts(rows)
        for parent, line in by_parent.items():
            self._long.discard(line)
            if cut is not None and parent >= cut:
                taken.unread.add(line)
            elif parent not in firsts:
                self._lines.leave(line)
            if parent in firsts and not self._lines.has_come(firsts[parent].not_before, now):
                self._lines.wait_until(line, firsts[parent].not_before)
        if cut in firsts:
            self._long.add(by_parent[cut])
        taken.rows += self._due(rows, firsts, now)
        return Room(room.rows - len(rows), room.size_bytes - sum(len(row.raw.value or b"") for row in rows))

    def _due(self, rows: Iterable[ParkedRow], firsts: Mapping[int, ParkedRow], now: float) -> list[ParkedRow]:
        """Rows of the lines whose first one is due."""
        due = {parent for parent, first in firsts.items() if self._lines.has_come(first.not_before, now)}
        return [row for row in rows if line_of(row.raw).parent in due]


def line_of(parked: RawRecord) -> Line:
    """The line of a record that has been parked: its key was compared with its body before."""
    return Line(parked.topic, parked.partition, int(parked.key or b"0"))


def _firsts(rows: Iterable[ParkedRow]) -> dict[int, ParkedRow]:
    """The first row of each line, by its parent."""
    firsts: dict[int, ParkedRow] = {}
    for row in rows:
        firsts.setdefault(line_of(row.raw).parent, row)
    return firsts


def _by_partition(lines: Iterable[Line]) -> list[list[Line]]:
    groups: dict[Partition, list[Line]] = {}
    for line in lines:
        groups.setdefault(Partition(line.topic, line.partition), []).append(line)
    return list(groups.values())
