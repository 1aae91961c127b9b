"""What every catalogue has to do: the one in MongoDB, and the one in memory that tests are built on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.participants.kept_catalogue import (
    CHAT,
    MAX,
    OTHER,
    OTHER_MAX,
    OWN,
    SOURCE,
    Kept,
    counted,
    kept,
    read,
)

from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import ChatId, Count, Mark, MaxChatId, Stamp
from chatferry.participants.ports import Marks, SourceChat, Told

__all__ = ["kept"]


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


async def test_a_refusal_never_hides_that_the_bot_was_put_out_since(kept: Kept) -> None:
    await counted(kept, 10, 100)
    denied = Count(10, Mark.DENIED, Stamp(1, 200), 100)
    frozen = replace(denied, mark=Mark.FROZEN)
    for count in (denied, frozen, denied):
        await kept.max_side.note(OWN, Told(count=count))
    assert (await kept.known(OWN)).counted == frozen


async def test_many_chats_come_page_by_page_and_none_is_left_out(kept: Kept) -> None:
    chats = [replace(SOURCE, id=ChatId(number)) for number in range(1, 26)]
    await kept.catalogue.note_sources(chats)
    assert {entry.id for entry in await kept.changed(most=10)} == {chat.id for chat in chats}
    await kept.catalogue.note_activity(dict.fromkeys((chat.id for chat in chats), 9))
    assert {entry.id for entry in await kept.changed(most=10)} == {chat.id for chat in chats}


@pytest.mark.parametrize("most", [1, 10])
async def test_the_lowest_and_the_highest_id_that_there_can_be_are_chats_as_any(kept: Kept, most: int) -> None:
    lowest, highest = MaxChatId(-(2**63)), ChatId(2**63 - 1)
    await kept.max_side.arrived(lowest, "of MAX")
    await kept.catalogue.note_sources([SOURCE, replace(SOURCE, id=highest)])
    assert {entry.id for entry in await kept.changed(most)} == {ChatId(lowest), CHAT, highest}


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
    await kept.max_side.note(OWN, Told(read(10, 100), "$now", 700, trusted=True))
    assert await kept.entry(OWN) == Entry(OWN, "$now", None, 700, 0, MAX, True, read(10, 100))
    denied = Count(10, Mark.DENIED, Stamp(1, 200), 100)
    await kept.max_side.note(OWN, Told(denied))
    assert (await kept.known(OWN)).counted == denied


@pytest.mark.parametrize(
    ("late", "wins"),
    [
        (read(11, 99), False),
        (read(11, 101), True),
        (read(11, 99, epoch=2), True),
        (read(11, 101, epoch=0), False),
        (read(11, 100, mark=Mark.PROVISIONAL), True),
        (read(10, 100, mark=Mark.FROZEN), True),
    ],
)
async def test_of_two_counts_the_one_of_the_later_read_stays(kept: Kept, late: Count, wins: bool) -> None:
    await counted(kept, 10, 100)
    await kept.max_side.note(OWN, Told(count=late))
    assert (await kept.known(OWN)).counted == (late if wins else read(10, 100))


async def test_a_read_that_is_written_late_does_not_undo_the_events_that_followed_it(kept: Kept) -> None:
    await counted(kept, 10, 100)
    moved = read(11, 100, mark=Mark.PROVISIONAL)
    await kept.max_side.note(OWN, Told(count=moved))
    await kept.max_side.note(OWN, Told(count=read(10, 100)))
    assert (await kept.known(OWN)).counted == moved


async def test_of_one_read_the_count_that_more_events_have_moved_stays(kept: Kept) -> None:
    await counted(kept, 10, 100)
    twice = replace(read(12, 100, mark=Mark.PROVISIONAL), moves=2)
    await kept.max_side.note(OWN, Told(count=twice))
    noted = await kept.max_side.note(OWN, Told(count=replace(twice, count=11, moves=1)))
    assert noted is not None
    assert noted.counted == twice
    assert noted.counted.moves == 2


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
    await kept.max_side.note(CHAT, Told(count=read(10, 100)))
    await kept.max_side.note(OWN, Told(count=read(10, 100)))
    assert await kept.changed() == [Entry(CHAT, "$title", 1_000, None, 4)]


async def test_what_was_said_of_the_chat_of_max_that_it_was_before_is_not_noted(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await kept.max_side.link(CHAT, MAX)
    noted = await kept.max_side.note(CHAT, Told(read(17, 100), max_chat=MAX))
    assert noted == (await kept.catalogue.by_max_chat([MAX]))[MAX]
    assert await kept.max_side.note(CHAT, Told(max_chat=MAX))
    await kept.max_side.link(CHAT, OTHER_MAX)
    assert not await kept.max_side.note(CHAT, Told(read(17, 200), "late", 700, trusted=True, max_chat=MAX))
    assert await kept.entry(CHAT) == Entry(CHAT, "$title", 1_000, None, 4, OTHER_MAX)
    assert await kept.max_side.note(CHAT, Told(read(9, 300), max_chat=OTHER_MAX))
    await kept.max_side.link(CHAT, None)
    assert not await kept.max_side.note(CHAT, Told(read(17, 400), max_chat=OTHER_MAX))


async def test_marks_outlive_who_kept_them_and_a_gap_is_not_forgotten_for_an_older_one(kept: Kept) -> None:
    assert await kept.memory.marks() == Marks()
    await kept.memory.keep(Marks(500, -(2**60)))
    assert await kept.memory.marks() == Marks(500, -(2**60))
    await kept.memory.keep(Marks(400, 7, subscribed="a digest"))
    assert await kept.memory.marks() == Marks(500, 7, subscribed="a digest")


async def test_the_newest_event_is_known_to_all_whichever_replica_was_told_last(kept: Kept) -> None:
    await kept.memory.heard(900)
    assert await kept.memory.marks() == Marks(heard_ms=900)
    await kept.memory.keep(Marks(500, 7))
    await kept.memory.heard(800)
    assert await kept.memory.marks() == Marks(500, 7, 900)
