"""All chats in memory, sorted and searched: what a page shows without asking anybody."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from chatferry.common.clock import Clock
from chatferry.participants.domain.catalogue import Entry, folded
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.pages import Place, Query, Sort
from chatferry.participants.ports import Catalogue

_AT_ONCE = 5_000
_SORT_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Page:
    """`end`: where the page ended; None when no chat follows."""

    entries: list[Entry]
    end: Place | None


@dataclass(slots=True)
class _Order:
    """Ids by one value: those that have it, ascending by value and id, and those that do not, by id."""

    valued: list[tuple[str | int, int]] = field(default_factory=list)
    bare: list[int] = field(default_factory=list)
    changed: bool = True
    sorted_at: float = float("-inf")

    def places(self, after: Place | None, *, descending: bool) -> Iterator[Place]:
        """From behind a place on. Those without a value come last, whichever way the others go."""
        bare_from = 0
        if after is None or after[0] is not None:
            yield from self._valued_places(after, descending=descending)
        else:
            bare_from = bisect_right(self.bare, after[1])
        for index in range(bare_from, len(self.bare)):
            yield None, self.bare[index]

    def _valued_places(self, after: Place | None, *, descending: bool) -> Iterator[Place]:
        if descending:
            begin = len(self.valued) if after is None else bisect_left(self.valued, after)
            indices: Iterable[int] = range(begin - 1, -1, -1)
        else:
            indices = range(0 if after is None else bisect_right(self.valued, after), len(self.valued))
        for index in indices:
            yield self.valued[index]


class View:
    """One replica's picture of the catalogue, a second old at most; what it has found out itself is there at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[ChatId, Entry] = {}
        self._titles: dict[ChatId, str] = {}
        self._orders = {sort: _Order() for sort in Sort}
        self._since = 0
        self.filled = False

    async def follow(self, catalogue: Catalogue) -> None:
        """Take in what has changed since the last time. Raises OutageError: what is there goes on being served."""
        while True:
            entries, since = await catalogue.changed(self._since, _AT_ONCE)
            for entry in entries:
                self._take(entry)
            self._since = since
            if len(entries) < _AT_ONCE:
                self.filled = True
                return

    def entry(self, chat: ChatId) -> Entry | None:
        return self._entries.get(chat)

    def entries(self) -> Iterable[Entry]:
        return self._entries.values()

    def __len__(self) -> int:
        return len(self._entries)

    def top(self, most: int) -> Collection[ChatId]:
        linked = (entry for entry in self._entries.values() if entry.max_chat is not None)
        return [entry.id for entry in heapq.nlargest(most, linked, key=lambda one: (one.activity_ms or 0, one.id))]

    def learn(self, entry: Entry) -> None:
        if entry.id in self._entries:
            self._take(entry)

    def page(self, query: Query, after: Place | None, limit: int) -> Page:
        """The first chats of a query, or those that follow a place."""
        found: list[tuple[Entry, Place]] = []
        for place in self._order(query.sort).places(after, descending=query.descending):
            entry = self._entries.get(ChatId(place[1]))
            if entry is None or (query.search and query.search not in self._titles.get(entry.id, "")):
                continue
            if len(found) == limit:
                return Page([one for one, _ in found], found[-1][1])
            found.append((entry, place))
        return Page([one for one, _ in found], None)

    def _take(self, entry: Entry) -> None:
        before = self._entries.get(entry.id)
        if entry.id < 0 and entry.max_chat is None:
            self._drop(entry.id)
            return
        if before is not None and _older(entry, before):
            return
        self._entries[entry.id] = entry
        if entry.title is None:
            self._titles.pop(entry.id, None)
        elif before is None or before.title != entry.title:
            self._titles[entry.id] = folded(entry.title)
        for sort, order in self._orders.items():
            if before is None or _value(sort, before) != _value(sort, entry):
                order.changed = True

    def _drop(self, chat: ChatId) -> None:
        if self._entries.pop(chat, None) is not None:
            self._titles.pop(chat, None)
            for order in self._orders.values():
                order.changed = True

    def _order(self, sort: Sort) -> _Order:
        """Sorted anew when something has changed, but not for every single change."""
        order, now = self._orders[sort], self._clock.monotonic()
        if order.changed and now - order.sorted_at >= _SORT_EVERY_S:
            values = {
                chat: self._titles.get(chat) if sort is Sort.TITLE else _value(sort, entry)
                for chat, entry in self._entries.items()
            }
            order.valued = sorted((value, int(chat)) for chat, value in values.items() if value is not None)
            order.bare = sorted(int(chat) for chat, value in values.items() if value is None)
            order.changed, order.sorted_at = False, now
        return order


def _value(sort: Sort, entry: Entry) -> str | int | None:
    if sort is Sort.TITLE:
        return entry.title
    if sort is Sort.LAST_ACTIVITY:
        return entry.activity_ms
    return entry.count.count if sort is Sort.PARTICIPANTS else entry.created_ms


def _older(entry: Entry, known: Entry) -> bool:
    """What the catalogue had before this replica's own read: it comes again, newer, in a moment."""
    if known.counted is None or entry.max_chat != known.max_chat:
        return False
    return entry.counted is None or entry.counted.stamp < known.counted.stamp
