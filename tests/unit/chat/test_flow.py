"""The story of a batch, with another writer and a failing store in the middle of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.chat.fakes import MemoryIds, MemoryRecords
from tests.unit.chat.records import chat, item, message

from chatferry.chat.domain.items import Item, Outcome, SourceId, TargetId, kinds_of
from chatferry.chat.flow import Importing, KnownParents
from chatferry.common.errors import OutageError

KINDS = kinds_of("chats")
CHATS, MESSAGES = KINDS["chats"], KINDS["chat_messages"]


class Target:
    def __init__(self, known: int = 10) -> None:
        self.records = MemoryRecords()
        self.parents = KnownParents(known)
        self.importing = Importing(self.records, MemoryIds(), self.parents, 2**20)

    async def chats(self, *items: Item) -> list[Outcome]:
        return await self.importing.batch(CHATS, None, items)

    async def messages(self, *items: Item) -> list[Outcome]:
        return await self.importing.batch(MESSAGES, CHATS, items)

    def document(self, number: int) -> dict[str, Any]:
        return self.records.kept["messages", SourceId(number)]


@pytest.fixture
async def target() -> Target:
    target = Target()
    await target.chats(item("chats", chat(1)))
    return target


def sent(number: int, version: int = 1) -> Item:
    return item("chat_messages", message(number, 1, text=str(version)), version)


def statuses(outcomes: list[Outcome]) -> list[str]:
    return [one.status for one in outcomes]


async def test_a_message_names_its_chat_by_the_targets_id(target: Target) -> None:
    await target.messages(sent(5))
    assert target.document(5)["chat"] == target.records.kept["chats", SourceId(1)]["target_id"]


async def test_a_message_of_a_chat_that_is_not_there_is_refused_and_not_remembered(target: Target) -> None:
    orphan = item("chat_messages", message(6, 2))
    [outcome] = await target.messages(orphan)
    assert outcome.as_json()["code"] == "PARENT_MISSING"
    await target.chats(item("chats", chat(2)))
    assert statuses(await target.messages(orphan)) == ["created"]


async def test_an_id_survives_every_update(target: Target) -> None:
    ids = {(await target.messages(sent(5, version)))[0].id for version in (1, 3, 2, 9)}
    assert ids == {target.document(5)["target_id"]}


async def test_a_newer_version_that_comes_between_wins(target: Target) -> None:
    await target.messages(sent(5, 1), sent(6, 1))
    target.records.before_replace = lambda: target.document(5).update(version=7)
    outcomes = await target.messages(sent(5, 3), sent(6, 3))
    assert statuses(outcomes) == ["stale", "unchanged"]
    assert (target.document(5)["version"], target.document(6)["version"]) == (7, 3)


async def test_a_record_that_vanishes_in_between_is_to_be_sent_again(target: Target) -> None:
    await target.messages(sent(5, 1))

    def vanish() -> None:
        del target.records.kept["messages", SourceId(5)]

    target.records.before_replace = vanish
    [outcome] = await target.messages(sent(5, 2))
    assert (outcome.status, outcome.as_json()["retryable"]) == ("error", True)


async def test_what_the_store_refuses_is_said_of_that_item_only(target: Target) -> None:
    target.records.refuse = frozenset({6})
    outcomes = await target.chats(*(item("chats", chat(number)) for number in (5, 6, 7)))
    assert statuses(outcomes) == ["created", "error", "created"]


async def test_an_outage_leaves_no_answer_at_all(target: Target) -> None:
    target.records.away = True
    with pytest.raises(OutageError):
        await target.messages(sent(5))
    target.records.away = False
    assert statuses(await target.messages(sent(5))) == ["created"]


def test_parents_are_forgotten_when_there_are_too_many() -> None:
    known = KnownParents(2)
    for number in (1, 2, 3):
        known.learn("chats", SourceId(number), TargetId(number * 10))
    assert [known.get("chats", SourceId(number)) for number in (1, 2, 3)] == [None, 20, 30]


async def test_what_follows_a_record_that_is_to_be_sent_again_is_held_back_in_its_chat_only(target: Target) -> None:
    await target.chats(item("chats", chat(2)))
    await target.messages(sent(4))
    target.records.refuse = frozenset({5})
    other = item("chat_messages", message(8, 2))

    outcomes = await target.messages(sent(3), sent(4), sent(5), sent(6), other, sent(7))

    assert [(one.status, one.refusal and one.refusal.code) for one in outcomes] == [
        ("created", None),
        ("unchanged", None),
        ("error", "NOT_KEPT"),
        ("error", "BEHIND"),
        ("created", None),
        ("error", "BEHIND"),
    ]
    assert sorted(number for kind, number in target.records.kept if kind == "messages") == [3, 4, 8]
    assert statuses(await target.messages(sent(5, 1), sent(5, 2), sent(6))) == ["error"] * 3
    target.records.refuse = frozenset()
    assert statuses(await target.messages(sent(5), sent(6), sent(7))) == ["created"] * 3


async def test_a_batch_that_came_before_costs_one_more_look_however_long_it_is(target: Target) -> None:
    batch = [sent(number) for number in range(1, 40)]
    await target.messages(*batch[:30])
    reads = target.records.reads

    assert statuses(await target.messages(*batch)) == ["unchanged"] * 30 + ["created"] * 9

    assert target.records.reads == reads + 2
