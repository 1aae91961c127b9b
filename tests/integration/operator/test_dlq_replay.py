"""`chatferry dlq replay` against a real Kafka, MongoDB and importer."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.importer.world import a_world, chat, message
from tests.integration.operator.dlq_world import Desk, desk_of, msg

from chatferry.common.contracts.envelope import DEAD_LETTER_HEADERS, REPLAY_OF
from chatferry.common.streaming.records import Outgoing
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


@pytest.fixture
async def desk(stack: Addresses, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_world(stack, f"dlq-{uuid.uuid4().hex[:8]}") as world:
        await world.open()
        yield desk_of(world, tmp_path)


async def test_all_that_died_arrives_in_order_and_a_second_replay_changes_nothing(desk: Desk) -> None:
    world = desk.world
    dead = [5003, 5001, 5007, 6000]
    desk.refuse(*map(msg, dead))
    await desk.chat_with_messages(5, 10)
    await desk.chat_with_messages(6, 2)
    async with world.importer():
        await desk.until_copied(4)
        world.target.refuse_items.clear()
        world.target.order.clear()
        said = await desk.dlq("replay", "--all")
        assert (said.code, said.err) == (0, ""), said
        assert "4 arrived at the target" in said.out
        assert world.target.order == {5: [5001, 5003, 5007], 6: [6000]}
        assert await world.statuses("chat_messages") == {"IMPORT_OK": 12}
        assert await desk.states() == {"replayed": 4}
        before = len(await world.read("chat_messages"))
        again = await desk.dlq("replay", "--all")
        assert (again.code, again.out.strip()) == (0, "there is nothing to replay")
        assert len(await world.read("chat_messages")) == before


async def test_the_bytes_are_those_that_the_topic_had_and_the_header_names_the_dead_letter(desk: Desk) -> None:
    world = desk.world
    good = world.outgoing("chat_messages", message(5000, 5, "Текст\u0000"))
    odd = [
        Outgoing(good.topic, b"5", None, good.headers),
        Outgoing(good.topic, b"5", b"\xff\x00{", (("x", None), ("x", b"\x80"))),
        Outgoing(good.topic, None, good.value, (*good.headers, ("dlq-topic", b"not ours"))),
        Outgoing(good.topic, b"5", b"x" * 890_000, ()),
    ]
    await world.producer.send(odd)
    async with world.importer():
        await desk.until_copied(4)
        said = await desk.dlq("replay", "--class", "undecodable")
        assert said.code == 1
        assert "died again with" in said.out
        await desk.until_copied(8)
    topic = await world.read("chat_messages")
    replays = [record for record in topic if REPLAY_OF in dict(record.headers)]
    copies = {(r.key, r.value, tuple(r.headers)[:-1]) for r in replays}
    assert copies == {(one.key, one.value, tuple(one.headers)) for one in odd}
    ids = {row["_id"] async for row in world.database.dead_letters.find({"state": "replayed"})}
    assert {record.headers[-1] for record in replays} == {(REPLAY_OF, one.encode()) for one in ids}
    async with world.importer():
        await desk.dlq("replay", "--all")
        await desk.until_copied(12)
    newest = (await world.read("chat_messages"))[-1]
    assert [name for name, _ in newest.headers].count(REPLAY_OF) == 1


async def test_an_unreadable_record_is_found_by_its_chat_and_goes_where_its_headers_say(desk: Desk) -> None:
    world = desk.world
    desk.refuse(msg(5000), msg(5002))
    three = [message(number, 5) for number in (5000, 5001, 5002)]
    whole = [world.outgoing("chat_messages", one) for one in three]
    await world.publish("chats", [chat(5)])
    await world.store("chat_messages", three)
    await world.producer.send([whole[0], replace(whole[1], value=b"{cut"), whole[2], replace(whole[1], headers=())])
    async with world.importer():
        await desk.until_copied(4)
        groups = (await desk.listed("--chat", "5"))["groups"]
        assert {(one["error_class"], one["chat"]): one["dead"] for one in groups} == {
            ("permanent", 5): 2,
            ("undecodable", 5): 1,
        }
        world.target.refuse_items.clear()
        assert (await desk.dlq("replay", "--chat", "5")).code == 1
    replays = [record for record in await world.read("chat_messages") if REPLAY_OF in dict(record.headers)]
    assert [dict(one.headers)["ce_subject"].decode() for one in replays] == [msg(5000), msg(5001), msg(5002)]


async def test_one_too_large_for_dlq_is_replayed_from_its_row(desk: Desk) -> None:
    world = desk.world
    desk.refuse(msg(5000))
    large = message(5000, 5, "x" * 800_000)
    await world.publish("chats", [chat(5)])
    await world.publish("chat_messages", [large])
    async with world.importer():
        await desk.until_copied(1)
        [row] = await world.database.dead_letters.find({}).to_list(None)
        copy = next(record for record in await world.read("dlq"))
        own = list(copy.headers)[: -len(DEAD_LETTER_HEADERS)]
        kept = {"key": copy.key, "value": copy.value, "headers": [[name, value] for name, value in own]}
        await world.database.dead_letters.update_one({"_id": row["_id"]}, {"$set": {"raw": kept}})
        await world.database.dead_letters.update_one(
            {"_id": row["_id"]}, {"$set": {"copy": {"partition": 0, "offset": 99}}}
        )
        world.target.refuse_items.clear()
        assert (await desk.dlq("replay", "--id", row["_id"])).code == 0
    assert world.target.stored[msg(5000)]["data"] == large


async def test_what_is_named_is_replayed_and_nothing_else(desk: Desk) -> None:
    world = desk.world
    desk.refuse(msg(5001), code="TOO_LONG")
    desk.refuse(msg(5002), msg(6001), msg(7001))
    for chat_id in (5, 6, 7):
        await desk.chat_with_messages(chat_id, 4)
    async with world.importer():
        await desk.until_copied(4)
        world.target.refuse_items.clear()
        for words, arrived in (
            (("--code", "target.TOO_LONG"), {msg(5001)}),
            (("--chat", "6", "--class", "permanent"), {msg(6001)}),
            (("--id", msg(7001)), {msg(7001)}),
            (("--entity", "chat_messages"), {msg(5002)}),
        ):
            before = set(world.target.stored)
            assert (await desk.dlq("replay", *words)).code == 0
            assert set(world.target.stored) - before == arrived


async def test_a_dead_chat_and_what_waits_for_it_arrive_with_one_replay(desk: Desk) -> None:
    world = desk.world
    desk.refuse("source:chat:5")
    await desk.chat_with_messages(5, 20)
    async with world.importer():
        await desk.until_copied(1)
        await world.until_statuses("chat_messages", {"NEW": 20})
        world.target.refuse_items.clear()
        assert (await desk.dlq("replay", "--chat", "5")).code == 0
        await world.until_statuses("chat_messages", {"IMPORT_OK": 20})
    assert world.target.order[5] == sorted(world.target.order[5])


async def test_an_exhausted_one_lets_its_chat_go_on_in_order(desk: Desk) -> None:
    world = desk.world
    desk.refuse(msg(5003), code="LATER", retryable=True)
    await desk.chat_with_messages(6, 5)
    await desk.chat_with_messages(5, 10)
    async with world.importer(batch_items={"chat_messages": 2}, retry_delays_seconds=(0.1,)):
        await desk.until_copied(1)
        world.target.refuse_items.clear()
        assert (await desk.dlq("replay", "--class", "exhausted")).code == 0
        await world.until_statuses("chat_messages", {"IMPORT_OK": 15})
    assert world.target.order[5] == list(range(5000, 5010))


async def test_what_dies_again_is_said_and_stays_a_dead_letter(desk: Desk) -> None:
    world = desk.world
    desk.refuse(msg(5003), msg(5004))
    await desk.chat_with_messages(5, 5)
    async with world.importer():
        await desk.until_copied(2)
        del world.target.refuse_items[msg(5004)]
        said = await desk.dlq("replay", "--all")
        shown = await desk.dlq("show", msg(5003))
    assert [line.split()[-1] for line in shown.out.splitlines() if line.startswith("state")] == ["dead"]
    assert said.code == 1
    assert "1 arrived at the target" in said.out
    assert "1 died again with target.NO" in said.out
    assert await desk.states() == {"dead": 1, "replayed": 2}
    assert await world.statuses("chat_messages") == {"IMPORT_OK": 4, "IMPORT_ERR": 1}


async def test_a_replay_that_stops_its_family_says_so_and_what_to_type(desk: Desk) -> None:
    world, count = desk.world, 30
    desk.refuse(*(msg(n) for n in range(5000, 5000 + count)))
    await desk.chat_with_messages(5, count)
    async with world.importer(dead_share_max=1.0, dead_consecutive_max=1_000):
        await desk.until_copied(count)
    async with world.importer(dead_consecutive_max=10):
        said = await desk.dlq("replay", "--all", "--wait", "2")
    assert said.code == 1
    assert f"{count - 10} are on their way still and wait: more than 10 records in a row" in said.out
    assert "then `chatferry dlq resume chats`" in said.out
    assert "go on without this command" not in said.out


async def test_newer_content_takes_the_place_of_a_replay(desk: Desk) -> None:
    world = desk.world
    desk.refuse(msg(5000))
    await desk.chat_with_messages(5, 1)
    async with world.importer():
        await desk.until_copied(1)
    await world.store("chat_messages", [message(5000, 5, "edited")], version=11)
    before = len(await world.read("chat_messages"))
    said = await desk.dlq("replay", "--all")
    assert (said.code, "1 superseded by newer content" in said.out) == (0, True)
    assert len(await world.read("chat_messages")) == before
    assert await desk.states() == {"superseded": 1}


@pytest.mark.parametrize("moment", ["claimed", "renewed", "sent"])
async def test_a_replay_that_was_killed_is_finished_by_the_next_one(desk: Desk, moment: str) -> None:
    """What such a kill leaves in the database, for each place between two writes."""
    world = desk.world
    desk.refuse(*(msg(n) for n in range(5000, 5005)))
    await desk.chat_with_messages(5, 8)
    async with world.importer():
        await desk.until_copied(5)
    rows = await world.database.dead_letters.find({}).sort("offset", 1).to_list(None)
    claimed = {"$set": {"state": "replaying", "unsent": True, "replay": "replay-killed", "by": "operator"}}
    await world.database.dead_letters.update_many({}, claimed)
    if moment != "claimed":
        keys = {"_id": {"$in": [row["key"] for row in rows[:3]]}}
        await world.database.chat_messages.update_many(keys, {"$set": {"status": "NEW"}})
    if moment == "sent":
        number = 5000
        for row in rows[:3]:
            await world.producer.send([world.outgoing("chat_messages", message(number, 5), replay_of=row["_id"])])
            number += 1
    world.target.refuse_items.clear()
    world.target.order.clear()
    async with world.importer():
        said = await desk.dlq("replay", "--all")
    assert said.code == 0, said
    assert "an earlier replay had not sent" in said.out or moment == "sent"
    assert await world.statuses("chat_messages") == {"IMPORT_OK": 8}
    assert set(await desk.states()) == {"replayed"}
    assert world.target.order[5] == list(range(5000, 5005))
    assert max(world.target.applied.values()) == 1


async def test_killed_at_random_moments_it_is_finished_by_the_next_one(desk: Desk) -> None:
    world = desk.world
    count = 600
    desk.refuse(*(msg(n) for n in range(5000, 5000 + count)))
    await desk.chat_with_messages(5, count)
    async with world.importer(dead_share_max=1.0, dead_consecutive_max=10_000):
        await desk.until_copied(count, seconds=60)
        world.target.refuse_items.clear()
        world.target.order.clear()
        for number in range(4):
            async with desk.running("replay", "--all") as process:

                async def begun(below: int = count - number) -> bool:
                    return bool(await world.database.dead_letters.count_documents({"state": "dead"}) < below)

                if number == 0:
                    await world.until(begun, "the claim", 30)
                await asyncio.sleep(0.01 * number)
                process.kill()
                await process.wait()
        assert (await desk.dlq("replay", "--all")).code == 0
    assert await world.statuses("chat_messages") == {"IMPORT_OK": count}
    assert world.target.order[5] == list(range(5000, 5000 + count))
    assert max(world.target.applied.values()) == 1


async def test_a_family_that_is_not_delivered_is_opened_for_a_replay_unless_something_else_would_go(desk: Desk) -> None:
    world = desk.world
    desk.refuse(msg(5000))
    await desk.chat_with_messages(5, 2)
    async with world.importer():
        await desk.until_copied(1)
        await world.until_statuses("chat_messages", {"IMPORT_OK": 1, "IMPORT_ERR": 1})
    world.target.refuse_items.clear()
    await world.open(is_open=False)
    await desk.chat_with_messages(6, 2)
    async with world.importer():
        said = await desk.dlq("replay", "--all")
        assert (said.code, said.out) == (2, "")
        assert "`chatferry migrate chats --phase set` first" in said.err
        assert await desk.states() == {"dead": 1}
        await world.database.chats.delete_one({"_id": "source:chat:6"})
        await world.database.chat_messages.delete_many({"parent": 6})
        assert (await desk.dlq("replay", "--all")).code == 0
        assert msg(5000) in world.target.stored


async def test_ten_thousand_arrive_in_order_within_thirty_seconds(desk: Desk) -> None:
    world = desk.world
    chats, each = 50, 200
    for chat_id in range(1, chats + 1):
        desk.refuse(*(msg(chat_id * 1000 + n) for n in range(each)))
        await desk.chat_with_messages(chat_id, each)
    async with world.importer(dead_share_max=1.0, dead_consecutive_max=100_000):
        await desk.until_copied(chats * each, seconds=90)
        world.target.refuse_items.clear()
        world.target.calls.clear()
        began = time.monotonic()
        said = await desk.dlq("replay", "--all")
        took = time.monotonic() - began
    assert said.code == 0, said
    for chat_id in range(1, chats + 1):
        assert world.target.order[chat_id] == [chat_id * 1000 + n for n in range(each)]
    assert len(world.target.calls) <= 3 * chats * each / 100, "batched up to the target"
    # Where others have most of the machine, it takes as much longer.
    share = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    print(f"10,000 dead letters replayed in {took:.1f} s, with 1/{share:.1f} of the machine")
    assert took < 30 * share, f"{took:.1f} s"
