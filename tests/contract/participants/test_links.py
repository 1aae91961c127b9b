"""What every catalogue has to do when a chat is linked, and which changes it has to tell of: MongoDB, and the fake."""

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
from chatferry.participants.domain.counts import ChatId, Count, Mark, Stamp
from chatferry.participants.ports import Change, MaxChatTakenError, Told

__all__ = ["kept"]


async def test_a_link_takes_over_what_was_known_and_ends_the_entry_of_max(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await counted(kept, 10, 100)
    await kept.changed()
    assert await kept.max_side.link(CHAT, MAX)
    told = {entry.id: entry for entry in await kept.changed()}
    # The epochs of another slot say nothing here: any read of this chat must win.
    assert told[CHAT] == Entry(CHAT, "$title", 1_000, None, 4, MAX, True, read(10, 100, epoch=0))
    assert told[OWN] == Entry(OWN, None, None, None, 0)
    assert await kept.catalogue.by_max_chat([MAX]) == {MAX: told[CHAT]}
    assert await kept.max_side.arrived(MAX, "again") == told[CHAT]
    await kept.max_side.note(OWN, Told(count=read(99, 900)))
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
    await counted(kept, 10, 100)
    assert await kept.max_side.link(CHAT, MAX) == {CHAT, OWN}
    with pytest.raises(MaxChatTakenError):
        await kept.max_side.link(OTHER, MAX)
    assert (await kept.known(OTHER)).max_chat is None
    assert (await kept.known(CHAT)).counted == read(10, 100, epoch=0)
    await kept.max_side.link(CHAT, None)
    assert await kept.max_side.link(OTHER, MAX) == {OTHER, OWN}
    assert (await kept.known(OTHER)).counted == read(10, 100, epoch=0)


async def test_where_a_link_is_asked_for_unless_there_is_one_another_stays(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    assert await kept.max_side.link(OTHER, MAX, unless_linked=True) is None
    assert await kept.max_side.link(CHAT, MAX, unless_linked=True) == {CHAT}
    assert await kept.max_side.link(CHAT, MAX, unless_linked=True) == {CHAT}
    assert await kept.max_side.link(CHAT, OTHER_MAX, unless_linked=True) == set()
    assert (await kept.known(CHAT)).max_chat == MAX


async def test_without_a_link_a_chat_is_static_again_and_that_of_max_goes_on_as_it_was(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await counted(kept, 10, 100)
    await kept.max_side.note(OWN, Told(title="of MAX", trusted=True))
    await kept.max_side.link(CHAT, MAX)
    assert await kept.max_side.link(CHAT, None) == {CHAT, OWN}
    assert await kept.entry(CHAT) == Entry(CHAT, "$title", 1_000, None, 4)
    again = Entry(OWN, "of MAX", None, None, 0, MAX, trusted=True, counted=read(10, 100, epoch=0))
    assert await kept.entry(OWN) == again
    assert await kept.max_side.arrived(MAX, "anew") == again


async def test_with_another_link_the_chat_of_max_that_it_was_comes_back(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await counted(kept, 10, 100)
    await kept.max_side.link(CHAT, MAX)
    assert await kept.max_side.link(CHAT, OTHER_MAX) == {CHAT, OWN}
    assert (await kept.known(OWN)).counted == read(10, 100, epoch=0)
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
    await kept.max_side.note(CHAT, Told(count=read(12, 100), trusted=True, max_chat=MAX))
    await kept.max_side.link(CHAT, None)
    assert await kept.entry(OWN) == Entry(OWN, None, None, None, 0, MAX, trusted=True, counted=read(12, 100, epoch=0))


async def test_whoever_asks_for_the_same_link_again_is_told_again_which_counts_are_anothers(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await counted(kept, 10, 100)
    await kept.max_side.link(CHAT, MAX)
    assert await kept.max_side.link(CHAT, None) == {CHAT, OWN}
    assert await kept.max_side.link(CHAT, None) == {CHAT, OWN}


async def test_a_count_that_differs_is_announced_until_it_has_been(kept: Kept) -> None:
    await counted(kept, 10, 100)
    [change] = await kept.outbox.unannounced(10)
    assert (change.chat, change.count) == (OWN, read(10, 100))
    await kept.outbox.announced([change])
    assert await kept.outbox.unannounced(10) == []
    await kept.max_side.note(OWN, Told(count=read(10, 200)))
    assert await kept.outbox.unannounced(10) == []
    await kept.max_side.note(OWN, Told(count=read(11, 300)))
    [again] = await kept.outbox.unannounced(10)
    assert (again.count, again.seq > change.seq) == (read(11, 300), True)


async def test_what_changes_while_it_is_announced_is_announced_again(kept: Kept) -> None:
    await counted(kept, 10, 100)
    before = await kept.outbox.unannounced(10)
    await kept.max_side.note(OWN, Told(count=read(11, 200)))
    await kept.outbox.announced(before)
    assert [one.count for one in await kept.outbox.unannounced(10)] == [read(11, 200)]


async def test_an_announcement_made_is_no_change_of_the_chat(kept: Kept) -> None:
    await counted(kept, 10, 100)
    await kept.changed()
    await kept.outbox.announced(await kept.outbox.unannounced(10))
    assert await kept.changed() == []


async def test_the_oldest_change_is_announced_first(kept: Kept) -> None:
    await kept.max_side.arrived(OTHER_MAX, None)
    await kept.max_side.note(ChatId(OTHER_MAX), Told(count=read(5, 50)))
    await counted(kept, 10, 100)
    await kept.max_side.note(ChatId(OTHER_MAX), Told(count=read(6, 150)))
    first: list[Change] = list(await kept.outbox.unannounced(1))
    assert [(one.chat, one.count) for one in first] == [(-77, read(6, 150))]


@pytest.mark.parametrize("late_first", [False, True])
async def test_a_newer_count_is_announced_again_when_an_older_one_may_have_come_after_it(
    kept: Kept, *, late_first: bool
) -> None:
    await counted(kept, 10, 100)
    late = await kept.outbox.unannounced(10)
    await kept.max_side.note(OWN, Told(count=read(11, 200)))
    newest = await kept.outbox.unannounced(10)
    # Somebody who was frozen meanwhile has told of the older one only now.
    for told in (late, newest) if late_first else (newest, late):
        await kept.outbox.announced(told)
    [again] = await kept.outbox.unannounced(10)
    assert (again.count, again.seq > newest[0].seq) == (read(11, 200), True)
    await kept.outbox.announced([again])
    assert await kept.outbox.unannounced(10) == []


async def test_a_link_announces_the_count_under_its_new_chat_and_that_the_former_has_none(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await counted(kept, 10, 100)
    await kept.outbox.announced(await kept.outbox.unannounced(10))
    await kept.max_side.link(CHAT, MAX)
    told = await kept.outbox.unannounced(10)
    assert {one.chat: one.count for one in told} == {CHAT: read(10, 100, epoch=0), OWN: None}
    await kept.outbox.announced(told)
    await kept.max_side.link(CHAT, None)
    told = await kept.outbox.unannounced(10)
    assert {one.chat: one.count for one in told} == {CHAT: Count(4, Mark.STATIC), OWN: read(10, 100, epoch=0)}


async def test_a_chat_of_which_nobody_was_told_ends_without_a_word(kept: Kept) -> None:
    await kept.catalogue.note_sources([SOURCE])
    await kept.max_side.arrived(MAX, None)
    await kept.max_side.link(CHAT, MAX)
    assert await kept.outbox.unannounced(10) == []
