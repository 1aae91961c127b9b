"""`chatferry dlq discard`, `resume`, `list` and `show` against a real Kafka, MongoDB and importer."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.importer.world import a_world, chat, message
from tests.integration.operator.dlq_world import Desk, desk_of, msg

from chatferry.common.streaming.records import Outgoing
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
WORD = ("--reason", "not ours to keep", "--by", "Olga")


@pytest.fixture
async def desk(stack: Addresses, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_world(stack, f"dlq-{uuid.uuid4().hex[:8]}") as world:
        await world.open()
        yield desk_of(world, tmp_path)


async def _skips(desk: Desk, entity: str) -> dict[str, int]:
    group = {"_id": "$skip_reason", "n": {"$sum": 1}}
    found = desk.world.database[entity].aggregate([{"$match": {"status": "SKIPPED"}}, {"$group": group}])
    return {row["_id"]: row["n"] async for row in found}


async def test_a_discarded_record_is_skipped_by_its_reason_and_never_sent_again(desk: Desk) -> None:
    world = desk.world
    desk.refuse(msg(5001), msg(5002))
    await desk.chat_with_messages(5, 4)
    async with world.importer():
        await desk.until_copied(2)
        said = await desk.dlq("discard", "--id", msg(5001), *WORD)
        assert (said.code, said.out.strip()) == (0, "1 dead letter is discarded")
        [row] = await world.database.dead_letters.find({"state": "discarded"}).to_list(None)
        assert (row["key"], row["reason"], row["by"]) == (msg(5001), "not ours to keep", "Olga")
        assert await _skips(desk, "chat_messages") == {"discarded: not ours to keep": 1}
        again = await desk.dlq("discard", "--id", msg(5001), *WORD)
        assert (again.code, again.out.strip()) == (0, "there is nothing to discard")
        world.target.refuse_items.clear()
        assert (await desk.dlq("replay", "--all")).code == 0
        assert msg(5001) not in world.target.stored
        assert await desk.states() == {"discarded": 1, "replayed": 1}


async def test_every_dead_letter_of_the_record_goes_with_it_and_newer_content_does_not(desk: Desk) -> None:
    world = desk.world
    desk.refuse(msg(5000), msg(5001))
    await desk.chat_with_messages(5, 2)
    async with world.importer():
        await desk.until_copied(2)
        assert (await desk.dlq("replay", "--all")).code == 1
        await desk.until_copied(4)
    # What a send that was doubled leaves: two dead letters of one record.
    await world.database.dead_letters.update_many({}, {"$set": {"state": "dead"}})
    [first, _] = await world.database.dead_letters.find({"key": msg(5000)}).sort("offset", 1).to_list(None)
    await world.database.chat_messages.update_one({"_id": msg(5001)}, {"$set": {"version": 12, "status": "NEW"}})
    assert (await desk.dlq("discard", "--id", first["_id"], "--id", msg(5001), *WORD)).code == 0
    assert await desk.states() == {"discarded": 4}
    assert await world.statuses("chat_messages") == {"SKIPPED": 1, "NEW": 1}


async def test_a_chat_is_discarded_with_what_waits_for_it_or_not_at_all(desk: Desk) -> None:
    world = desk.world
    desk.refuse("source:chat:5")
    await desk.chat_with_messages(5, 7)
    await desk.chat_with_messages(6, 2)
    async with world.importer():
        await desk.until_copied(1)
        await world.until_statuses("chat_messages", {"NEW": 7, "IMPORT_OK": 2})
        said = await desk.dlq("discard", "--chat", "5", *WORD)
        assert (said.code, said.out) == (2, "")
        assert "7 records wait for what would be discarded" in said.err
        assert await desk.states() == {"dead": 1}
        said = await desk.dlq("discard", "--chat", "5", "--with-children", *WORD)
        assert said.code == 0
        await world.until_statuses("chat_messages", {"SKIPPED": 7, "IMPORT_OK": 2})
        assert await _skips(desk, "chat_messages") == {"parent discarded": 7}
        assert await _skips(desk, "chats") == {"discarded: not ours to keep": 1}

        async def nothing_parked() -> bool:
            return bool(await world.database.parked.count_documents({}) == 0)

        await world.until(nothing_parked, "the parked rows gone")


async def test_too_many_dead_letters_stop_the_family_and_resume_lets_it_go_on_with_nothing_lost(desk: Desk) -> None:
    world = desk.world
    count = 150
    desk.refuse(*(msg(5000 + n) for n in range(count)), code="NO_SPACE")
    await desk.chat_with_messages(5, count)
    async with world.importer(dead_consecutive_max=10) as context:

        async def stopped() -> bool:
            return "dead_letters" in context.health.ready() and "dead_letters" not in context.health.outages

        await world.until(stopped, "the stop")
        sentence = context.health.ready()["dead_letters"]
        for words in ("more than 10 records in a row", "target.NO_SPACE", "`chatferry dlq resume chats`"):
            assert words in sentence
        assert await world.statuses("chat_messages") == {"IMPORT_ERR": 10, "NEW": count - 10}
        assert len(await world.read("dlq")) == 10
        assert (await desk.listed())["halted"] == {"chats": sentence}
        refused = await desk.dlq("replay", "--all")
        assert (refused.code, "dlq resume chats" in refused.err) == (2, True)
        await world.publish("users", [user_of(9)])
        await world.until_statuses("users", {"IMPORT_OK": 1})
        world.target.refuse_items.clear()
        resumed = await desk.dlq("resume")
        assert (resumed.code, resumed.out.startswith("chats: delivered again")) == (0, True)
        await world.until_statuses("chat_messages", {"IMPORT_ERR": 10, "IMPORT_OK": count - 10})
        assert "dead_letters" not in context.health.ready()
        assert (await desk.dlq("replay", "--all")).code == 0
    assert await world.statuses("chat_messages") == {"IMPORT_OK": count}
    assert (await desk.dlq("resume", "chats")).out.strip() == "nothing was stopped"


def user_of(number: int) -> dict[str, Any]:
    nothing = dict.fromkeys(("first_name", "last_name", "email", "work_position"))
    flags = {"active": True, "bot": False, "external": False}
    return {"id": number, "name": "Анна", "departments": [], **flags, **nothing}


async def test_the_list_counts_by_class_code_entity_and_chat(desk: Desk) -> None:
    world = desk.world
    desk.refuse("source:chat:7", msg(5000), msg(5001), msg(6000))
    desk.refuse(msg(5002), code="TOO_LONG")
    for chat_id in (5, 6, 7):
        await desk.chat_with_messages(chat_id, 4)
    await world.producer.send([Outgoing(world.topic("chats"), b"9", b"{", ())])
    async with world.importer():
        await desk.until_copied(6)
    found = await desk.listed()
    assert found["totals"] == {"dead": 6, "replaying": 0, "replayed": 0, "superseded": 0, "discarded": 0}
    groups = {(g["error_class"], g["code"], g["entity"], g["chat"]): g["dead"] for g in found["groups"]}
    assert groups == {
        ("permanent", "target.NO", "chat_messages", 5): 2,
        ("permanent", "target.NO", "chat_messages", 6): 1,
        ("permanent", "target.NO", "chats", 7): 1,
        ("permanent", "target.TOO_LONG", "chat_messages", 5): 1,
        ("undecodable", "envelope.broken", "chats", None): 1,
    }
    [one] = (await desk.listed("--chat", "5", "--code", "target.TOO_LONG"))["groups"]
    each = await desk.dlq("list", "--each", "--chat", "5", columns=80)
    assert one["example"] in each.out
    assert len(each.out.splitlines()) == 3
    for columns in (80, 130):
        table = (await desk.dlq("list", columns=columns)).out
        assert max(map(len, table.splitlines())) <= columns
        assert len(table.splitlines()) == 7, "one line for each group"
        for words in ("target.TOO_LONG", "undecodable", "chat_messages", "6 dead"):
            assert words in table


async def test_show_hides_what_people_wrote_and_reveal_shows_it(desk: Desk) -> None:
    world = desk.world
    text = "Пароль от сейфа 4711, звоните +7 900 123-45-67"
    desk.refuse(msg(5000))
    await world.publish("chats", [chat(5)])
    await world.publish("chat_messages", [message(5000, 5, text)])
    broken = b'{"token": "s3cr3t", "PHONE": 79001234567, "Anna +7": {"id": 4}}'
    await world.producer.send([Outgoing(world.topic("chat_messages"), b"5", broken, (("x-secret", b"s3cr3t"),))])
    async with world.importer():
        await desk.until_copied(2)
    hidden = await desk.dlq("show", msg(5000))
    assert hidden.code == 0
    for words in (
        '"id": 5000',
        '"chat_id": 5',
        "2026-03-04T06:42:31Z",
        "target.NO",
        f"‹{len(text)} signs›",
        "--reveal",
    ):
        assert words in hidden.out
    assert "Пароль" not in hidden.out
    assert "4711" not in hidden.out
    assert text in (await desk.dlq("show", msg(5000), "--reveal")).out
    unreadable = await world.database.dead_letters.find_one({"error_class": "undecodable"})
    assert unreadable is not None
    hidden = await desk.dlq("show", unreadable["_id"], columns=80)
    for secret in ("s3cr3t", "79001234567", "Anna"):
        assert secret not in hidden.out
    assert '"id": 4' in hidden.out
    assert "s3cr3t" in (await desk.dlq("show", unreadable["_id"], "--reveal")).out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("replay",), "say which: --class, --code, --entity, --chat or --id; or all of them with --all"),
        (("discard", *WORD), "say which"),
        (("replay", "--all", "--chat", "5"), "--all is for all of them"),
        (("list", "--class", "temporary"), "there is no error class 'temporary'; there are: permanent"),
        (("list", "--entity", "messages"), "there is no entity 'messages'; there are: users, chats, chat_messages"),
        (("list", "--chat", "0"), "a chat is named by its number"),
        (("show", "nothing"), "there is no dead letter 'nothing'"),
        (("discard", "--all", "--reason", " ", "--by", "Olga"), "a discard needs a reason"),
        (("discard", "--all", "--reason", "why", "--by", " "), "a discard needs a name"),
        (("resume", "groups"), "there is no family 'groups'"),
    ],
)
async def test_bad_input_is_answered_by_one_sentence_and_changes_nothing(
    desk: Desk, words: tuple[str, ...], sentence: str
) -> None:
    said = await desk.dlq(*words)
    assert (said.code, said.out) == (2, "")
    assert sentence in said.err
    assert len(said.err.splitlines()) == 1
