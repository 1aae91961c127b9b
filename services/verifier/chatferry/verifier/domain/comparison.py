"""The full comparison of one ordered stream with another, a page at a time (design: data.md §6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from chatferry.common.contracts.canonical import payload_hash
from chatferry.common.documents import IMPORT_OK, SKIPPED
from chatferry.verifier.domain.lines import SourceLine, TargetItem


class OutOfOrderError(ValueError):
    """The target lists a record before one that it listed already. Carries the key of the late one."""

    def __init__(self, key: str) -> None:
        super().__init__("the target's list is not in ascending order of the source ids")
        self.key = key


class Kind(Enum):
    """What a difference between the two streams is."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Finding:
    """One record that is not the same at both sides. `content_hash`: SHA-256 of the data that the target returned."""

    kind: Kind
    line: SourceLine | None
    item: TargetItem | None
    content_hash: str | None = None
    twice: bool = False

    @property
    def key(self) -> str:
        """The record's key, from whichever side has it."""
        return self.line.key if self.line is not None else self.item.key if self.item is not None else ""


@dataclass(slots=True)
class Tally:
    """Records of one comparison. `compared`: pairs; `source`: documents; `target`: records listed by the target."""

    source: int = 0
    target: int = 0
    compared: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0

    @property
    def clean(self) -> bool:
        """Nothing is missing, one too many or different."""
        return not (self.missing or self.extra or self.different)

    def add(self, other: Tally) -> None:
        """Add another comparison's records."""
        self.source += other.source
        self.target += other.target
        self.compared += other.compared
        self.missing += other.missing
        self.extra += other.extra
        self.different += other.different


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells that a parent's records changed: new content raises `version`, an import raises one of the others."""

    stored: int
    ok: int
    version: int
    imported_version: int


class Comparison:
    """Feed it pages of both sides, in ascending order; `advance` goes as far as both pages reach.

    `matched` holds the equal pairs since the last `advance`. Nothing else is kept, so memory does not grow.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self.matched: list[tuple[SourceLine, TargetItem]] = []
        self._lines: Sequence[SourceLine] = ()
        self._items: Sequence[TargetItem] = ()
        self._line, self._item = 0, 0
        self._lines_end = self._items_end = False
        self._last_seq, self._last_key = -1, ""
        self._ok = self._version = self._imported = 0

    @property
    def wants_lines(self) -> bool:
        """The page of the source is used up and more may come."""
        return self._line >= len(self._lines) and not self._lines_end

    @property
    def wants_items(self) -> bool:
        """The page of the target is used up and more may come."""
        return self._item >= len(self._items) and not self._items_end

    @property
    def finished(self) -> bool:
        """Both sides are used up and ended."""
        ended = self._lines_end and self._items_end
        return ended and self._line >= len(self._lines) and self._item >= len(self._items)

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the source's records fed so far."""
        return Fingerprint(self.tally.source, self._ok, self._version, self._imported)

    def feed_lines(self, page: Sequence[SourceLine], *, last: bool) -> None:
        """The next page of the source, when it is wanted."""
        self._lines, self._line, self._lines_end = page, 0, last
        self.tally.source += len(page)
        for line in page:
            if line.version > self._version:
                self._version = line.version
            if line.status == IMPORT_OK:
                self._ok += 1
            if line.imported_version is not None and line.imported_version > self._imported:
                self._imported = line.imported_version

    def feed_items(self, page: Sequence[TargetItem], *, last: bool) -> None:
        """The next page of the target, when it is wanted."""
        self._items, self._item, self._items_end = page, 0, last
        self.tally.target += len(page)

    def advance(self) -> list[Finding]:
        """Compare until a page is used up; the differences met. Raises OutOfOrderError."""
        self.matched = []
        findings: list[Finding] = []
        while self._line < len(self._lines) and self._item < len(self._items):
            self._pair(self._lines[self._line], self._items[self._item], findings)
        if self._items_end and self._item >= len(self._items):
            for line in self._lines[self._line :]:
                self._missing(line, findings)
            self._line = len(self._lines)
        if self._lines_end and self._line >= len(self._lines):
            for item in self._items[self._item :]:
                self._extra(item, findings)
            self._item = len(self._items)
        return findings

    def _pair(self, line: SourceLine, item: TargetItem, findings: list[Finding]) -> None:
        if item.seq is None or item.seq < line.seq or (item.seq == line.seq and item.key != line.key):
            self._extra(item, findings)
            self._item += 1
        elif item.seq > line.seq:
            self._missing(line, findings)
            self._line += 1
        else:
            self._in_order(item)
            self._equal(line, item, findings)
            self._line += 1
            self._item += 1

    def _equal(self, line: SourceLine, item: TargetItem, findings: list[Finding]) -> None:
        if line.status == SKIPPED:
            # Such a version may stay as the target took it before.
            if line.imported_version != item.version:
                self._count_extra(item, findings)
                return
            line = line._replace(version=item.version, hash=line.imported_hash or "")
        self.tally.compared += 1
        content = payload_hash(item.data)
        same_id = line.target_id is None or line.target_id == item.id
        if line.hash == content and line.hash == item.hash and line.version == item.version and same_id:
            self.matched.append((line, item))
            return
        self.tally.different += 1
        findings.append(Finding(Kind.DIFFERENT, line, item, content))

    def _missing(self, line: SourceLine, findings: list[Finding]) -> None:
        if line.status == SKIPPED and line.imported_version is None:
            return
        self.tally.missing += 1
        findings.append(Finding(Kind.MISSING, line, None))

    def _extra(self, item: TargetItem, findings: list[Finding]) -> None:
        twice = item.key == self._last_key
        self._in_order(item)
        self._count_extra(item, findings, twice=twice)

    def _count_extra(self, item: TargetItem, findings: list[Finding], *, twice: bool = False) -> None:
        self.tally.extra += 1
        findings.append(Finding(Kind.EXTRA, None, item, twice=twice))

    def _in_order(self, item: TargetItem) -> None:
        if item.seq is None:
            return
        if item.seq < self._last_seq:
            raise OutOfOrderError(item.key)
        self._last_seq, self._last_key = item.seq, item.key
