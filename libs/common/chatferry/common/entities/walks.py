"""Walks over lists: pages whose next one is known only from the page before (reference: bitrix24.md §2, §5.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatferry.common.entities.reading import (
    PAGE,
    Answer,
    Command,
    Harvest,
    Page,
    Refusal,
    map_of,
    rows_of,
    usable_name,
    whole,
)

# Pages of 200 with all their parts are heavy: the whole batch has 60 s (reference: bitrix24.md §3).
_PAGES_AT_ONCE = 10
_EMPTY_IN_A_ROW = 10
_BLOCK = 512
_MOST_DIGITS = 19


@dataclass(slots=True)
class KeysetWalk:
    """Ascending by id with a filter `>ID`: survives rows that come and go meanwhile. Chains inside one batch.

    `total` is what the portal claimed on the first page, None until then.
    """

    method: str
    fixed: Mapping[str, Any]
    id_field: str = "ID"
    last: int = 0
    total: int | None = None
    listed: int = 0
    ended: bool = False
    _planned: int = 0

    def needs(self) -> int:
        return 1

    def plan(self, room: int, label: str) -> list[Command]:
        pages = 1 if self.total is None else max(1, -(-(self.total - self.listed) // PAGE))
        self._planned = min(room, pages)
        return [self._command(n, label) for n in range(self._planned)]

    def _command(self, n: int, label: str) -> Command:
        after: Any = self.last if n == 0 else f"$result[{label}_{n - 1}][{PAGE - 1}][{self.id_field}]"
        start = 0 if self.total is None else -1
        return Command(
            f"{label}_{n}", self.method, {**self.fixed, "FILTER": {f">{self.id_field}": after}, "start": start}
        )

    def absorb(self, answers: Sequence[Answer]) -> Harvest:
        harvest = Harvest()
        for answer in answers:
            if answer.refusal is not None:
                harvest.refusal = answer.refusal
                return harvest
            if self.total is None:
                self.total = answer.total or 0
            if self._take(rows_of(answer.result), harvest):
                break
        harvest.ended = self.ended
        if not harvest.pages:
            harvest.refusal = Refusal("portal.no_progress", transient=True)
        return harvest

    def _take(self, rows: list[Any], harvest: Harvest) -> bool:
        """True when the pages after this one say nothing: it was not full, or its reference led elsewhere."""
        ids = [number for row in rows if (number := whole(map_of(row).get(self.id_field))) is not None]
        if ids and min(ids) <= self.last:
            return True
        self.ended = len(rows) < PAGE
        top = max(ids, default=self.last)
        named = [row for row in rows if whole(map_of(row).get(self.id_field)) is not None]
        nameless = [row for row in rows if whole(map_of(row).get(self.id_field)) is None]
        harvest.pages.append(Page(lo=self.last + 1, hi=top + 1, rows=named, unidentified=nameless))
        self.listed += len(set(ids))
        self.last = top
        harvest.used += 1
        return self.ended

    def state(self) -> dict[str, Any]:
        return {"low": self.last, "claimed": self.total, "listed": self.listed}


@dataclass(slots=True)
class Names:
    """Names of rows, `547` or `chat1489`, of a long list: numbers that lie close together take a bit each."""

    _blocks: dict[tuple[str, int], int] = field(default_factory=dict)
    _others: set[str] = field(default_factory=set)

    def add(self, name: int | str) -> bool:
        """Whether it was new."""
        text = str(name)
        word = text.rstrip("0123456789")
        number = text[len(word) :]
        # Python refuses to make a number of thousands of digits.
        if not 0 < len(number) <= _MOST_DIGITS or (len(number) > 1 and number[0] == "0"):
            new = text not in self._others
            self._others.add(text)
            return new
        block, position = divmod(int(number), _BLOCK)
        before = self._blocks.get((word, block), 0)
        self._blocks[word, block] = before | 1 << position
        return not before >> position & 1


@dataclass(slots=True)
class OffsetWalk:
    """`OFFSET` and `LIMIT` until `hasMore` is false; rows repeat across pages and move while they are read.

    A page may be empty in the middle; a list that shows nothing for ten pages and still claims more is refused.
    It reads the list until a whole pass brings no new id, at most `most_passes` times: one pass may miss a row that
    moved up while it was under way.
    """

    method: str
    fixed: Mapping[str, Any]
    limit: int = 200
    most_passes: int = 3
    offset: int = 0
    passes: int = 0
    seen: Names = field(default_factory=Names)
    _new: int = 0
    _longest: int = 0
    _empty: int = 0

    def needs(self) -> int:
        return 1

    def plan(self, room: int, label: str) -> list[Command]:
        pages = min(room, self._pages_before, _PAGES_AT_ONCE)
        offsets = [self.offset + n * self.limit for n in range(pages)]
        return [
            Command(f"{label}_{n}", self.method, {**self.fixed, "OFFSET": offset, "LIMIT": self.limit})
            for n, offset in enumerate(offsets)
        ]

    @property
    def _pages_before(self) -> int:
        """How many pages to ask for at once: as many as the pass before had, else twice as many each time."""
        return max(1, self._longest - self.offset // self.limit) if self.passes else self.offset // self.limit + 1

    def absorb(self, answers: Sequence[Answer]) -> Harvest:
        harvest = Harvest()
        for answer in answers:
            if answer.refusal is not None:
                harvest.refusal = answer.refusal
                return harvest
            result = map_of(answer.result)
            if self._empty + 1 >= _EMPTY_IN_A_ROW and result.get("hasMore") and not rows_of(result.get("items")):
                harvest.refusal = Refusal("portal.empty_pages", transient=True)
                return harvest
            harvest.used += 1
            if self._take(result, harvest):
                break
        return harvest

    def _take(self, result: Mapping[str, Any], harvest: Harvest) -> bool:
        """True when a pass is over."""
        rows = rows_of(result.get("items"))
        named = [row for row in map(map_of, rows) if usable_name(row.get("id"))]
        nameless = [row for row in rows if not usable_name(map_of(row).get("id"))]
        fresh = [row for row in named if self.seen.add(row["id"])]
        harvest.pages.append(Page(lo=0, hi=0, rows=fresh, unidentified=nameless))
        self._new += len(fresh)
        self.offset += self.limit
        self._empty = 0 if rows else self._empty + 1
        if result.get("hasMore"):
            return False
        self._empty = 0
        self.passes += 1
        self._longest = max(self._longest, self.offset // self.limit)
        harvest.ended = self.passes > 1 and (self._new == 0 or self.passes >= self.most_passes)
        self.offset, self._new = 0, 0
        return True

    def state(self) -> dict[str, Any]:
        return {"offset": self.offset}
