"""All chats in memory, sorted and searched: what a page shows without asking anybody."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from chatferry.common.clock import Clock
from chatferry.participants.domain.catalogue import Entry, folded
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.pages import Place, Query, Sort
from chatferry.participants.ports import Catalogue

_AT_ONCE = 5_000
_SORT_EVERY_S = 0.25
_MOVED_ONE_BY_ONE = 500
# Fewer than one in so many are sorted by themselves.
_FEW = 16
# A cursor holds the value that it goes on from.
_LONGEST_TITLE_SORTED = 200


@dataclass(frozen=True, slots=True)
class Page:
    """`end`: where the page ended; None when no chat follows. `total`: chats of the query, on all pages."""

    entries: list[Entry]
    end: Place | None
    total: int


@dataclass(slots=True)
class _Order:
    """Ids by one value: those that have it, ascending by value and id, and those that do not, by id.

    `moved`: chats that have changed since, and where they are still listed (None: nowhere).
    """

    valued: list[tuple[str | int, int]] = field(default_factory=list)
    bare: list[int] = field(default_factory=list)
    moved: dict[ChatId, Place | None] = field(default_factory=dict)
    settled_at: float = float("-inf")

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

    def move(self, before: Place | None, now: Place | None) -> None:
        """One chat, from where it is listed to where it belongs."""
        if before is not None:
            if before[0] is None:
                del self.bare[bisect_left(self.bare, before[1])]
            else:
                del self.valued[bisect_left(self.valued, before)]
        if now is not None:
            if now[0] is None:
                insort(self.bare, now[1])
            else:
                insort(self.valued, (now[0], now[1]))

    def sort(self, places: Iterable[Place]) -> None:
        """All anew."""
        valued, bare = [], []
        for value, chat in places:
            if value is None:
                bare.append(chat)
            else:
                valued.append((value, chat))
        self.valued, self.bare = sorted(valued), sorted(bare)


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
        asked = (entry for entry in self._entries.values() if entry.max_chat is not None and not entry.lost)
        return [entry.id for entry in heapq.nlargest(most, asked, key=lambda one: (one.activity_ms or 0, one.id))]

    def learn(self, entry: Entry) -> None:
        if entry.id in self._entries:
            self._take(entry)

    def page(self, query: Query, after: Place | None, limit: int) -> Page:
        """The first chats of a query, or those that follow a place."""
        hits = self._hits(query.search) if query.search else self._entries.keys()
        order = self._order(query.sort) if len(hits) * _FEW > len(self._entries) else self._order_of(query.sort, hits)
        found: list[tuple[Entry, Place]] = []
        for place in order.places(after, descending=query.descending):
            chat = ChatId(place[1])
            if chat not in hits:
                continue
            if len(found) == limit:
                return Page([one for one, _ in found], found[-1][1], len(hits))
            found.append((self._entries[chat], place))
        return Page([one for one, _ in found], None, len(hits))

    def _hits(self, search: str) -> set[ChatId]:
        return {chat for chat, title in self._titles.items() if search in title}

    def _order_of(self, sort: Sort, chats: Iterable[ChatId]) -> _Order:
        """Of a few, without walking past all others."""
        order = _Order()
        order.sort(place for chat in chats if (place := self._place(sort, chat)) is not None)
        return order

    def _take(self, entry: Entry) -> None:
        before = self._entries.get(entry.id)
        gone = entry.id < 0 and entry.max_chat is None
        if before is None and gone:
            return
        if before is not None and not gone and _older(entry, before):
            return
        places = {sort: self._place(sort, entry.id) for sort in Sort}
        if gone:
            del self._entries[entry.id]
        else:
            self._entries[entry.id] = entry
        if gone or entry.title is None:
            self._titles.pop(entry.id, None)
        elif before is None or before.title != entry.title:
            self._titles[entry.id] = folded(entry.title)
        for sort, order in self._orders.items():
            if self._place(sort, entry.id) != places[sort]:
                order.moved.setdefault(entry.id, places[sort])

    def _place(self, sort: Sort, chat: ChatId) -> Place | None:
        entry = self._entries.get(chat)
        if entry is None:
            return None
        if sort is Sort.TITLE:
            title = self._titles.get(chat)
            return None if title is None else title[:_LONGEST_TITLE_SORTED], chat
        if sort is Sort.LAST_ACTIVITY:
            return entry.activity_ms, chat
        return entry.count.count if sort is Sort.PARTICIPANTS else entry.created_ms, chat

    def _order(self, sort: Sort) -> _Order:
        """Brought up to date when something has changed, but not for every single change."""
        order, now = self._orders[sort], self._clock.monotonic()
        if order.moved and now - order.settled_at >= _SORT_EVERY_S:
            if len(order.moved) > _MOVED_ONE_BY_ONE:
                order.sort(place for chat in self._entries if (place := self._place(sort, chat)) is not None)
            else:
                for chat, before in order.moved.items():
                    order.move(before, self._place(sort, chat))
            order.moved, order.settled_at = {}, now
        return order


def _older(entry: Entry, known: Entry) -> bool:
    """What the catalogue had before this replica's own read, or event: it comes again, newer, in a moment."""
    if known.counted is None or entry.max_chat != known.max_chat:
        return False
    return entry.counted is None or entry.counted.order < known.counted.order
