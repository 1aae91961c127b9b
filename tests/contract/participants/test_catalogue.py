"""What every catalogue has to do: the one in MongoDB, and the one in memory that tests are built on."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from tests.contract.participants.fake_catalogue import FakeCatalogue

from chatferry.common.adapters.mongo import open_client, open_database
from chatferry.common.clock import SystemClock
from chatferry.participants.adapters.mongo_catalogue import MongoCatalogue, MongoOutbox
from chatferry.participants.adapters.mongo_entries import prepare
from chatferry.participants.adapters.mongo_max_side import MongoMaxSide
from chatferry.participants.adapters.mongo_memory import MongoMemory
from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import ChatId, Count, Mark, MaxChatId, Stamp
from chatferry.participants.ports import Catalogue, Change, Marks, MaxSide, Memory, Outbox, SourceChat, Told

CHAT, OTHER = ChatId(2), ChatId(3)
MAX, OTHER_MAX = MaxChatId(-(2**62)), MaxChatId(-77)
OWN = ChatId(MAX)
SOURCE = SourceChat(CHAT, 5, "$title", 1_000, 4)


@dataclass
class Kept:
    """One catalogue, by its ports."""

    catalogue: Catalogue
    max_side: MaxSide
    outbox: Outbox
    memory: Memory
    since: int = 0

    async def changed(self, most: int = 100) -> list[Entry]:
        """All that has changed since the last time."""
        found: list[Entry] = []
        while True:
            entries, self.since = await self.catalogue.changed(self.since, most)
            found += entries
            if len(entries) < most:
                return found

    async def entry(self, chat: ChatId) -> Entry | None:
        """One chat, as it is listed."""
        entries, _ = await self.catalogue.changed(0, 1_000)
        return next((entry for entry in entries if entry.id == chat), None)

    async def known(self, chat: ChatId) -> Entry:
        found = await self.entry(chat)
        assert found is not None
        return found


@pytest.fixture(params=["memory", pytest.param("mongodb", marks=pytest.mark.integration)])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    if request.param == "memory":
        fake = FakeCatalogue()
        yield Kept(fake, fake, fake, fake)
        return
    client = open_client(request.getfixturevalue("stack").mongodb)
    database = open_database(client, f"chatferry_contract_{uuid.uuid4().hex[:8]}")
    catalogue = MongoCatalogue(database)
    try:
        await prepare(database)
        yield Kept(catalogue, MongoMaxSide(database, SystemClock()), MongoOutbox(database), MongoMemory(database))
    finally:
        await catalogue.close()
        await client.drop_database(database.name)
        client.close()


def _read(count: int, started_ms: int, epoch: int = 1, mark: Mark = Mark.CONFIRMED) -> Count:
    return Count(count, mark, Stamp(epoch, started_ms))


async def _counted(kept: Kept, count: int = 10, started_ms: int = 100) -> None:
    await kept.max_side.arrived(MAX, "of MAX")
    await kept.max_side.note(OWN, Told(count=_read(count, started_ms), trusted=True))


async def test_a_record_of_the_portal_is_listed_as_it_says(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    assert await kept.changed() == [Entry(CHAT, "$title", 1_000, None, 4)]


async def test_an_older_record_never_takes_the_place_of_a_newer_one(kept: Kept) -> None:
    newer = SourceChat(CHAT, 6, None, None, 0)
    await kept.catalogue.note_sources([newer, SOURCE])
    await kept.catalogue.note_sources([SOURCE])
    await kept.catalogue.note_sources([replace(SOURCE, version=6)])
    assert await kept.entry(CHAT) == Entry(CHAT, None, None, None, 0)


async def test_activity_is_that_of_the_newest_message(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE, replace(SOURCE, id=OTHER)])
    await kept.catalogue.note_activity({CHAT: 500, OTHER: 7})
    await kept.catalogue.note_activity({CHAT: 400})
    assert ((await kept.known(CHAT)).activity_ms, (await kept.known(OTHER)).activity_ms) == (500, 7)


async def test_a_chat_of_which_only_messages_are_known_is_kept_and_not_listed(kept: Kept) -> None:
    await kept.catalogue.note_activity({CHAT: 500})
    assert await kept.changed() == []
    await kept.catalogue.note_sources([SOURCE])
    assert await kept.changed() == [Entry(CHAT, "$title", 1_000, 500, 4)]


async def test_a_change_is_told_once_and_a_repeated_write_is_none(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE, replace(SOURCE, id=OTHER)])
    assert len(await kept.changed()) == 2
    assert await kept.changed() == []
    await kept.catalogue.note_activity({OTHER: 9})
    assert [entry.id for entry in await kept.changed()] == [OTHER]
    assert await kept.changed() == []


async def test_many_chats_come_page_by_page_and_none_is_left_out(kept: Kept) -> None:
    chats = [replace(SOURCE, id=ChatId(number)) for number in range(1, 26)]
    await kept.catalogue.note_sources(chats)
    assert {entry.id for entry in await kept.changed(most=10)} == {chat.id for chat in chats}
    await kept.catalogue.note_activity(dict.fromkeys((chat.id for chat in chats), 9))
    assert {entry.id for entry in await kept.changed(most=10)} == {chat.id for chat in chats}


async def test_what_changes_while_the_pages_are_read_is_told_again(kept: Kept) -> None:
    await kept.catalogue.note_sources([replace(SOURCE, id=ChatId(number)) for number in range(1, 11)])
    first, kept.since = await kept.catalogue.changed(0, 5)
    await kept.catalogue.note_activity({first[0].id: 77})
    told = [*await kept.changed(), *await kept.changed()]
    assert (first[0].id, 77) in {(entry.id, entry.activity_ms) for entry in told}


async def test_a_chat_that_only_max_has_is_listed_under_its_own_id(kept: Kept) -> None:
    made = await kept.max_side.arrived(MAX, "of MAX")
    assert made == Entry(OWN, "of MAX", None, None, 0, MAX)
    assert await kept.max_side.arrived(MAX, None) == made
    assert await kept.changed() == [made]
    assert await kept.catalogue.by_max_chat([MAX, OTHER_MAX]) == {MAX: made}


async def test_a_dialog_is_no_chat_of_the_catalogue(kept: Kept) -> None:
    assert await kept.max_side.arrived(MaxChatId(12), "a person") is None
    assert await kept.changed() == []


async def test_what_a_read_says_is_kept_with_its_stamp(kept: Kept) -> None:
    await kept.max_side.arrived(MAX, None)
    await kept.max_side.note(OWN, Told(_read(10, 100), "$now", 700, trusted=True))
    assert await kept.entry(OWN) == Entry(OWN, "$now", None, 700, 0, MAX, True, _read(10, 100))


@pytest.mark.parametrize(
    ("late", "wins"),
    [
        (_read(11, 99), False),
        (_read(11, 101), True),
        (_read(11, 99, epoch=2), True),
        (_read(11, 101, epoch=0), False),
        (_read(11, 100, mark=Mark.PROVISIONAL), True),
        (_read(10, 100, mark=Mark.FROZEN), True),
    ],
)
async def test_of_two_counts_the_one_of_the_later_read_stays(kept: Kept, late: Count, wins: bool) -> None:
    await _counted(kept, 10, 100)
    await kept.max_side.note(OWN, Told(count=late))
    assert (await kept.known(OWN)).counted == (late if wins else _read(10, 100))


async def test_a_read_that_is_written_late_does_not_undo_the_events_that_followed_it(kept: Kept) -> None:
    await _counted(kept, 10, 100)
    moved = _read(11, 100, mark=Mark.PROVISIONAL)
    await kept.max_side.note(OWN, Told(count=moved))
    await kept.max_side.note(OWN, Told(count=_read(10, 100)))
    assert (await kept.known(OWN)).counted == moved


async def test_trust_and_title_of_an_earlier_moment_take_nothing_back(kept: Kept) -> None:
    await kept.max_side.arrived(MAX, "first")
    await kept.max_side.note(OWN, Told(title="second", trusted=False, at_ms=200))
    await kept.max_side.note(OWN, Told(title="late", trusted=True, at_ms=100))
    entry = await kept.known(OWN)
    assert (entry.title, entry.trusted) == ("second", False)
    await kept.max_side.note(OWN, Told(trusted=True))
    assert (await kept.known(OWN)).trusted is True


async def test_nothing_is_noted_of_a_chat_that_max_does_not_have(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await kept.max_side.note(CHAT, Told(count=_read(10, 100)))
    await kept.max_side.note(OWN, Told(count=_read(10, 100)))
    assert await kept.changed() == [Entry(CHAT, "$title", 1_000, None, 4)]


async def test_what_was_said_of_the_chat_of_max_that_it_was_before_is_not_noted(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await kept.max_side.link(CHAT, MAX)
    assert await kept.max_side.note(CHAT, Told(_read(17, 100), max_chat=MAX))
    assert await kept.max_side.note(CHAT, Told(max_chat=MAX))
    await kept.max_side.link(CHAT, OTHER_MAX)
    assert not await kept.max_side.note(CHAT, Told(_read(17, 200), "late", 700, trusted=True, max_chat=MAX))
    assert await kept.entry(CHAT) == Entry(CHAT, "$title", 1_000, None, 4, OTHER_MAX)
    assert await kept.max_side.note(CHAT, Told(_read(9, 300), max_chat=OTHER_MAX))
    await kept.max_side.link(CHAT, None)
    assert not await kept.max_side.note(CHAT, Told(_read(17, 400), max_chat=OTHER_MAX))


async def test_a_link_takes_over_what_was_known_and_ends_the_entry_of_max(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await _counted(kept, 10, 100)
    await kept.changed()
    assert await kept.max_side.link(CHAT, MAX)
    told = {entry.id: entry for entry in await kept.changed()}
    # The epochs of another slot say nothing here: any read of this chat must win.
    assert told[CHAT] == Entry(CHAT, "$title", 1_000, None, 4, MAX, True, _read(10, 100, epoch=0))
    assert told[OWN] == Entry(OWN, None, None, None, 0)
    assert await kept.catalogue.by_max_chat([MAX]) == {MAX: told[CHAT]}
    assert await kept.max_side.arrived(MAX, "again") == told[CHAT]
    await kept.max_side.note(OWN, Told(count=_read(99, 900)))
    assert await kept.entry(OWN) == told[OWN]


async def test_a_link_again_changes_nothing_and_one_to_an_unknown_chat_is_refused(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    assert await kept.max_side.link(OTHER, MAX) is None
    assert await kept.max_side.link(CHAT, MAX) == {CHAT}
    await kept.changed()
    assert await kept.max_side.link(CHAT, MAX) == {CHAT}
    assert await kept.changed() == []
    assert await kept.max_side.link(OWN, OTHER_MAX) is None


async def test_a_max_chat_is_that_of_one_chat_only(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE, replace(SOURCE, id=OTHER)])
    await _counted(kept, 10, 100)
    assert await kept.max_side.link(CHAT, MAX) == {CHAT, OWN}
    assert await kept.max_side.link(OTHER, MAX) == {OTHER, CHAT}
    assert await kept.entry(CHAT) == Entry(CHAT, "$title", 1_000, None, 4)
    assert (await kept.known(OTHER)).counted == _read(10, 100, epoch=0)


async def test_without_a_link_a_chat_is_static_again_and_that_of_max_goes_on_as_it_was(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await _counted(kept, 10, 100)
    await kept.max_side.note(OWN, Told(title="of MAX", trusted=True))
    await kept.max_side.link(CHAT, MAX)
    assert await kept.max_side.link(CHAT, None) == {CHAT, OWN}
    assert await kept.entry(CHAT) == Entry(CHAT, "$title", 1_000, None, 4)
    again = Entry(OWN, "of MAX", None, None, 0, MAX, trusted=True, counted=_read(10, 100, epoch=0))
    assert await kept.entry(OWN) == again
    assert await kept.max_side.arrived(MAX, "anew") == again


async def test_with_another_link_the_chat_of_max_that_it_was_comes_back(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await _counted(kept, 10, 100)
    await kept.max_side.link(CHAT, MAX)
    assert await kept.max_side.link(CHAT, OTHER_MAX) == {CHAT, OWN}
    assert (await kept.known(OWN)).counted == _read(10, 100, epoch=0)
    assert (await kept.known(CHAT)).max_chat == OTHER_MAX


async def test_a_mistaken_link_that_is_ended_leaves_no_chat_that_max_never_named(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await kept.max_side.link(CHAT, OTHER_MAX)
    await kept.max_side.note(CHAT, Told(count=Count(4, Mark.DENIED, Stamp(1, 100)), max_chat=OTHER_MAX))
    await kept.max_side.link(CHAT, None)
    assert await kept.entry(ChatId(OTHER_MAX)) is None


async def test_a_chat_that_max_has_counted_goes_on_as_maxs_own_also_when_it_was_never_named_before(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await kept.max_side.link(CHAT, MAX)
    await kept.max_side.note(CHAT, Told(count=_read(12, 100), trusted=True, max_chat=MAX))
    await kept.max_side.link(CHAT, None)
    assert await kept.entry(OWN) == Entry(OWN, None, None, None, 0, MAX, trusted=True, counted=_read(12, 100, epoch=0))


async def test_whoever_asks_for_the_same_link_again_is_told_again_which_counts_are_anothers(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await _counted(kept, 10, 100)
    await kept.max_side.link(CHAT, MAX)
    assert await kept.max_side.link(CHAT, None) == {CHAT, OWN}
    assert await kept.max_side.link(CHAT, None) == {CHAT, OWN}


async def test_a_count_that_differs_is_announced_until_it_has_been(kept: Kept) -> None:
    await _counted(kept, 10, 100)
    [change] = await kept.outbox.unannounced(10)
    assert (change.chat, change.count) == (OWN, _read(10, 100))
    await kept.outbox.announced([change])
    assert await kept.outbox.unannounced(10) == []
    await kept.max_side.note(OWN, Told(count=_read(10, 200)))
    assert await kept.outbox.unannounced(10) == []
    await kept.max_side.note(OWN, Told(count=_read(11, 300)))
    [again] = await kept.outbox.unannounced(10)
    assert (again.count, again.seq > change.seq) == (_read(11, 300), True)


async def test_what_changes_while_it_is_announced_is_announced_again(kept: Kept) -> None:
    await _counted(kept, 10, 100)
    before = await kept.outbox.unannounced(10)
    await kept.max_side.note(OWN, Told(count=_read(11, 200)))
    await kept.outbox.announced(before)
    assert [one.count for one in await kept.outbox.unannounced(10)] == [_read(11, 200)]


async def test_an_announcement_made_is_no_change_of_the_chat(kept: Kept) -> None:
    await _counted(kept, 10, 100)
    await kept.changed()
    await kept.outbox.announced(await kept.outbox.unannounced(10))
    assert await kept.changed() == []


async def test_the_oldest_change_is_announced_first(kept: Kept) -> None:
    await kept.max_side.arrived(OTHER_MAX, None)
    await kept.max_side.note(ChatId(OTHER_MAX), Told(count=_read(5, 50)))
    await _counted(kept, 10, 100)
    await kept.max_side.note(ChatId(OTHER_MAX), Told(count=_read(6, 150)))
    first: list[Change] = list(await kept.outbox.unannounced(1))
    assert [(one.chat, one.count) for one in first] == [(-77, _read(6, 150))]


@pytest.mark.parametrize("late_first", [False, True])
async def test_a_newer_count_is_announced_again_when_an_older_one_may_have_come_after_it(
    kept: Kept, *, late_first: bool
) -> None:
    await _counted(kept, 10, 100)
    late = await kept.outbox.unannounced(10)
    await kept.max_side.note(OWN, Told(count=_read(11, 200)))
    newest = await kept.outbox.unannounced(10)
    # Somebody who was frozen meanwhile has told of the older one only now.
    for told in (late, newest) if late_first else (newest, late):
        await kept.outbox.announced(told)
    [again] = await kept.outbox.unannounced(10)
    assert (again.count, again.seq > newest[0].seq) == (_read(11, 200), True)
    await kept.outbox.announced([again])
    assert await kept.outbox.unannounced(10) == []


async def test_a_link_announces_the_count_under_its_new_chat_and_that_the_former_has_none(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await _counted(kept, 10, 100)
    await kept.outbox.announced(await kept.outbox.unannounced(10))
    await kept.max_side.link(CHAT, MAX)
    told = await kept.outbox.unannounced(10)
    assert {one.chat: one.count for one in told} == {CHAT: _read(10, 100, epoch=0), OWN: None}
    await kept.outbox.announced(told)
    await kept.max_side.link(CHAT, None)
    told = await kept.outbox.unannounced(10)
    assert {one.chat: one.count for one in told} == {CHAT: Count(4, Mark.STATIC), OWN: _read(10, 100, epoch=0)}


async def test_a_chat_of_which_nobody_was_told_ends_without_a_word(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await kept.max_side.arrived(MAX, None)
    await kept.max_side.link(CHAT, MAX)
    assert await kept.outbox.unannounced(10) == []


async def test_marks_outlive_who_kept_them_and_a_gap_is_not_forgotten_for_an_older_one(kept: Kept) -> None:
    assert await kept.memory.marks() == Marks()
    await kept.memory.keep(Marks(500, -(2**60)))
    assert await kept.memory.marks() == Marks(500, -(2**60))
    await kept.memory.keep(Marks(400, 7))
    assert await kept.memory.marks() == Marks(500, 7)
