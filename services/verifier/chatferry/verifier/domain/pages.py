"""Whether the pages that were read prove what an inventory row says was read (design: data.md §5)."""

from __future__ import annotations

from typing import Any, NamedTuple

from chatferry.verifier.domain.facts import Row


class Page(NamedTuple):
    """One entry of the page log: ids from `lo` to below `hi`.

    `listed`: how many of them the portal showed; `beside`: absent and rejected records.
    """

    parent: int
    lo: int
    hi: int
    listed: int
    beside: int


class PageChain:
    """Feed it a walk's pages, ascending by `lo`; it keeps no page."""

    def __init__(self) -> None:
        self._start: int | None = None
        self._end = 1
        self._listed = self._beside = 0
        self._hole: tuple[int, int] | None = None
        self._overlap: tuple[int, int] | None = None

    def add(self, page: Page) -> None:
        """The next page."""
        self._listed += page.listed
        self._beside += page.beside
        lo = max(page.lo, 1)  # ids begin at 1, and so do some walks
        if page.hi <= lo:
            return
        if self._start is None:
            self._start = self._end = lo
        if lo > self._end:
            self._hole = self._hole or (self._end, lo - 1)
        elif lo < self._end:
            self._overlap = self._overlap or (lo, min(self._end, page.hi) - 1)
        self._end = max(self._end, page.hi)

    def faults(self, row: Row) -> dict[str, dict[str, Any]]:
        """What the pages do not prove of a closed row, by name; empty: each id was read once, and the numbers agree.

        Fewer absent ones than the row has are no fault: a page with newer records alone has no entry.
        """
        found: dict[str, dict[str, Any]] = {}
        hole = self._hole_of(row)
        if hole is not None:
            found["hole"] = {"from": hole[0], "to": hole[1]}
        if self._overlap is not None:
            found["overlap"] = {"from": self._overlap[0], "to": self._overlap[1]}
        if row.watermark is None or self._end > row.watermark + 1:
            found["watermark"] = {"logged": self._end - 1, "watermark": row.watermark}
        if self._listed != row.listed:
            found["count"] = {"logged": self._listed, "listed": row.listed}
        if self._beside > row.read - row.listed:
            found["beside"] = {"logged": self._beside, "listed": row.read - row.listed}
        return found

    def _hole_of(self, row: Row) -> tuple[int, int] | None:
        if self._start is not None and self._start > 1 and not row.limited:
            return 1, self._start - 1
        if self._hole is not None:
            return self._hole
        if row.watermark is not None and self._end <= row.watermark:
            return self._end, row.watermark
        return None
