"""The catalogue in memory: ports Catalogue, MaxSide, Outbox and Memory, for tests of what is built on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chatferry.participants.domain.catalogue import Entry, own_id
from chatferry.participants.domain.counts import NEVER, ChatId, Count, Mark, MaxChatId, Stamp
from chatferry.participants.ports import Change, Marks, MaxChatTakenError, SourceChat, Told


@dataclass(slots=True)
class _Row:
    """`changed`: its place in the order of changes. `seq`: of its count."""

    entry: Entry
    source: SourceChat | None = None
    max_title: str | None = None
    listed: bool = False
    moments: dict[str, int] = field(default_factory=dict)
    changed: int = 0
    seq: int = 0
    unannounced: int | None = None
    ended: bool = False
    former: ChatId | None = None


class FakeCatalogue:
    """All four ports."""

    def __init__(self) -> None:
        self._rows: dict[ChatId, _Row] = {}
        self._writes = 0
        self._marks = Marks()

    async def changed(self, since: int, most: int) -> tuple[Sequence[Entry], int]:
        later = sorted((row for row in self._rows.values() if row.changed > since), key=lambda row: row.changed)[:most]
        return [row.entry for row in later if row.listed], later[-1].changed if later else since

    async def by_max_chat(self, chats: Collection[MaxChatId]) -> dict[MaxChatId, Entry]:
        found = (row.entry for row in self._rows.values())
        return {one.max_chat: one for one in found if one.max_chat is not None and one.max_chat in chats}

    async def note_sources(self, chats: Collection[SourceChat]) -> None:
        for chat in chats:
            row = self._row(chat.id)
            if row.source is None or chat.version > row.source.version:
                row.source, row.listed = chat, True
                made = replace(row.entry, created_ms=chat.created_ms, static_count=chat.static_count)
                self._put(row, made)

    async def note_activity(self, newest_ms: Mapping[ChatId, int]) -> None:
        for chat, at_ms in newest_ms.items():
            row = self._row(chat)
            self._put(row, replace(row.entry, activity_ms=_later(row.entry.activity_ms, at_ms)))

    async def arrived(self, max_chat: MaxChatId, title: str | None) -> Entry | None:
        own = own_id(max_chat)
        if own is None:
            return None
        found = (await self.by_max_chat([max_chat])).get(max_chat)
        if found is not None:
            return found
        row = self._row(own)
        row.listed, row.ended, row.max_title = True, False, title or row.max_title
        return self._put(row, replace(row.entry, max_chat=max_chat))

    async def note(self, chat: ChatId, told: Told) -> Entry | None:
        row = self._rows.get(chat)
        if row is None or row.entry.max_chat is None or told.max_chat not in (None, row.entry.max_chat):
            return None
        made = replace(row.entry, activity_ms=_later(row.entry.activity_ms, told.activity_ms))
        if told.title is not None and self._is_now(row, "title", told.at_ms):
            row.max_title = told.title
        if told.trusted is not None and self._is_now(row, "trusted", told.at_ms):
            made = replace(made, trusted=told.trusted)
        if told.count is not None and _order(told.count) >= _order(made.counted):
            made = replace(made, counted=told.count)
        return self._put(row, made)

    async def link(
        self, chat: ChatId, max_chat: MaxChatId | None, *, unless_linked: bool = False
    ) -> frozenset[ChatId] | None:
        row = self._rows.get(chat)
        if row is None or row.source is None:
            return None
        if row.entry.max_chat == max_chat:
            return frozenset({chat, row.former or chat})
        before = row.entry
        if unless_linked and before.max_chat is not None:
            return frozenset()
        other = (await self.by_max_chat([max_chat])).get(max_chat) if max_chat is not None else None
        if other is not None and other.id > 0:
            raise MaxChatTakenError
        row.former = None if before.max_chat is None else own_id(before.max_chat)
        told, title, former = Entry(chat, None, None, None, 0), None, row.max_title
        if other is not None:
            title = self._rows[other.id].max_title
            told = self._part(self._rows[other.id])
        row.max_title = title
        activity = _later(row.entry.activity_ms, told.activity_ms)
        self._put(row, replace(_taken_over(row.entry, told), max_chat=max_chat, activity_ms=activity))
        if row.former is not None:
            self._revive(row.former, before, former)
        return frozenset({chat, row.former or chat, chat if other is None else other.id})

    def _revive(self, former: ChatId, before: Entry, title: str | None) -> None:
        """The entry of the chat of MAX that this one was."""
        counted = before.counted is not None and before.counted.mark in (Mark.CONFIRMED, Mark.PROVISIONAL)
        own = self._row(former) if counted else self._rows.get(former)
        if own is not None and (counted or own.ended):
            own.ended, own.listed, own.max_title = False, True, title
            self._put(own, replace(_taken_over(own.entry, before), max_chat=before.max_chat))

    def _part(self, row: _Row) -> Entry:
        before = row.entry
        self._put(row, replace(before, max_chat=None, trusted=None, counted=None))
        row.max_title = None
        if before.id < 0:
            row.ended = True
            row.entry = Entry(before.id, None, None, None, 0)
            if row.seq:
                self._tell_of(row)
        return before

    async def unannounced(self, most: int) -> Sequence[Change]:
        waiting = [row for row in self._rows.values() if row.unannounced is not None]
        waiting.sort(key=lambda row: row.unannounced or 0)
        return [Change(row.entry.id, _told_of(row.entry), row.seq) for row in waiting[:most]]

    async def announced(self, changes: Sequence[Change]) -> None:
        for change in changes:
            row = self._rows[change.chat]
            if row.seq == change.seq:
                row.unannounced = None
            else:
                self._tell_of(row)

    async def marks(self) -> Marks:
        return self._marks

    async def keep(self, marks: Marks) -> None:
        kept = self._marks
        self._marks = replace(marks, gap_ms=max(marks.gap_ms, kept.gap_ms), heard_ms=kept.heard_ms)

    async def heard(self, at_ms: int) -> None:
        self._marks = replace(self._marks, heard_ms=max(at_ms, self._marks.heard_ms))

    def _row(self, chat: ChatId) -> _Row:
        return self._rows.setdefault(chat, _Row(Entry(chat, None, None, None, 0)))

    def _put(self, row: _Row, entry: Entry) -> Entry:
        self._writes += 1
        title = row.source.title if row.source is not None else None
        if _worth(entry.counted) != _worth(row.entry.counted):
            self._tell_of(row)
        row.entry, row.changed = replace(entry, title=row.max_title if title is None else title), self._writes
        return row.entry

    def _tell_of(self, row: _Row) -> None:
        row.seq += 1
        row.unannounced = row.unannounced or self._writes

    def _is_now(self, row: _Row, what: str, at_ms: int | None) -> bool:
        if at_ms is None:
            return True
        now = at_ms >= row.moments.get(what, -1)
        row.moments[what] = max(at_ms, row.moments.get(what, -1))
        return now


def _later(one: int | None, other: int | None) -> int | None:
    return max((each for each in (one, other) if each is not None), default=None)


def _told_of(entry: Entry) -> Count | None:
    return None if entry.id < 0 and entry.counted is None else entry.count


def _taken_over(entry: Entry, told: Entry) -> Entry:
    counted = told.counted
    if counted is not None:
        counted = replace(counted, stamp=Stamp(0, counted.stamp.started_ms))
    return replace(entry, trusted=told.trusted, counted=counted)


def _order(count: Count | None) -> tuple[Stamp, int, int]:
    return (NEVER, -1, 0) if count is None else count.order


def _worth(count: Count | None) -> tuple[int, Mark] | None:
    return None if count is None else (count.count, count.mark)
