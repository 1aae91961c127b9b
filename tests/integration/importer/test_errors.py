"""Records that fail, and what becomes of those beside and behind them."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c
from tests.integration.importer.world import Answer, World, chat, message

from chatferry.common.streaming.producer import partition_for
from chatferry.common.streaming.records import Outgoing

pytestmark = pytest.mark.integration


async def _chat_with_messages(world: World, chat_id: int, count: int) -> None:
    await world.publish("chats", [chat(chat_id)])
    await world.publish("chat_messages", [message(chat_id * 100 + n, chat_id) for n in range(count)])


def _key(number: int) -> str:
    return f"source:chat:msg:{number}"


async def test_an_undecodable_record_ends_as_a_dead_letter_and_the_good_ones_beside_it_arrive(world: World) -> None:
    await world.open()
    await world.publish("chats", [chat(5)])
    good = world.outgoing("chat_messages", message(500, 5))
    foreign = tuple((n, b"/chatferry/other/p" if n == "ce_source" else v) for n, v in good.headers)
    broken = [
        Outgoing(good.topic, b"5", None, good.headers),
        Outgoing(good.topic, b"5", b"{cut", good.headers),
        Outgoing(good.topic, b"5", b'"\xff"', good.headers),
        Outgoing(good.topic, b"5", b'{"id": 500}', good.headers),
        Outgoing(good.topic, b"5", good.value, ()),
        Outgoing(good.topic, b"5", good.value, foreign),
        Outgoing(good.topic, b"6", good.value, good.headers),
        Outgoing(good.topic, None, good.value, good.headers),
        Outgoing(good.topic, b"5", good.value, (*good.headers, ("ce_subject", b"source:chat:msg:501"))),
        Outgoing(good.topic, b"5", good.value, (*good.headers, ("ce_type", b"other.extracted"))),
    ]
    await world.store("chat_messages", [message(n, 5) for n in (500, 501)])
    await world.producer.send([*broken[:5], good, *broken[5:], world.outgoing("chat_messages", message(501, 5))])
    async with world.importer():
        await world.until_statuses("chat_messages", {"IMPORT_OK": 2})

        async def all_dead() -> bool:
            return bool(await world.database.dead_letters.count_documents({"copied": True}) == len(broken))

        await world.until(all_dead, "dead letters")
    rows = await world.database.dead_letters.find({}).to_list(None)
    assert {row["error_class"] for row in rows} == {"undecodable"}
    assert {row["code"] for row in rows} == {
        *("body.null", "body.not_json", "body.invalid", "envelope.broken"),
        *("source.foreign", "key.mismatch", "type.unknown"),
    }
    assert not [row for row in rows if "raw" in row]
    copies = await world.read("dlq")
    sent = {(b.key, b.value, tuple(b.headers)) for b in broken}
    assert {(c.key, c.value, tuple(c.headers)[:-8]) for c in copies} == sent


async def _write_unreadable_name(world: World, topic: str, key: bytes, value: bytes) -> None:
    """A record with a header whose name is no UTF-8: the broker takes it, and clients in C or Go can write it."""
    async with AIOKafkaProducer(bootstrap_servers=world.addresses.kafka) as producer:
        made = producer.create_batch()
        made.append(timestamp=None, key=key, value=value, headers=[("broken", b"v")])
        raw = bytearray(made._build())
        place = raw.find(b"broken")
        raw[place : place + 2] = b"\xff\xfe"
        struct.pack_into(">I", raw, 17, calc_crc32c(bytes(raw[21:])))
        made._buffer = bytes(raw)
        await (await producer.send_batch(made, topic, partition=partition_for(key, world.partitions)))


async def test_a_header_whose_name_is_no_utf8_costs_its_own_record_alone(world: World) -> None:
    await world.open()
    for chat_id in (5, 6, 7, 8):
        await _chat_with_messages(world, chat_id, 5)
    await _write_unreadable_name(world, world.topic("chat_messages"), b"5", b"?")
    more = [message(chat_id * 100 + n, chat_id) for n in (5, 6) for chat_id in (5, 6, 7, 8)]
    await world.publish("chat_messages", more)
    async with world.importer():
        await world.until_statuses("chat_messages", {"IMPORT_OK": 28})

        async def dead() -> bool:
            return bool(await world.database.dead_letters.count_documents({"copied": True}) == 1)

        await world.until(dead, "the dead letter")
    assert all(order == sorted(order) for order in world.target.order.values())
    [copy] = await world.read("dlq")
    assert (copy.key, copy.value, copy.headers[0]) == (b"5", b"?", ("\\xff\\xfeoken", b"v"))


async def test_what_a_stranger_wrote_into_its_source_stops_no_importer(world: World) -> None:
    await world.open()
    await _chat_with_messages(world, 5, 2)
    good = world.outgoing("chat_messages", message(600, 5))
    source = f"/chatferry/{world.project}/".encode() + b"x" * 900_000
    headers = [(name, source if name == "ce_source" else value) for name, value in good.headers]
    async with AIOKafkaProducer(bootstrap_servers=world.addresses.kafka, max_request_size=1_100_000) as producer:
        await producer.send_and_wait(good.topic, good.value, key=good.key, headers=headers)
    await world.publish("chat_messages", [message(502, 5)])
    async with world.importer():
        await world.until_statuses("chat_messages", {"IMPORT_OK": 3})
    [row] = await world.database.dead_letters.find({}).to_list(None)
    assert (row["code"], row["copied"]) == ("envelope.broken", True)


async def test_a_permanent_error_is_a_dead_letter_at_once_and_later_messages_pass_it(world: World) -> None:
    await world.open()
    world.target.refuse_items[_key(503)] = {"code": "TOO_LONG", "retryable": False}
    await _chat_with_messages(world, 5, 10)
    async with world.importer():
        await world.until_statuses("chat_messages", {"IMPORT_OK": 9, "IMPORT_ERR": 1})
    [row] = await world.database.dead_letters.find({}).to_list(None)
    assert (row["key"], row["error_class"], row["code"], row["attempts"]) == (
        _key(503), "permanent", "target.TOO_LONG", 1,
    )  # fmt: skip
    document = await world.database.chat_messages.find_one({"_id": _key(503)})
    assert document is not None
    assert document["last_error"] == "target.TOO_LONG"
    [copy] = await world.read("dlq")
    headers = dict(copy.headers)
    assert headers["dlq-topic"].decode() == world.topic("chat_messages")
    assert b"SECRET TEXT" not in b"".join(headers.values())
    failed = [
        orjson.loads(r.value) for r in await world.read("results") if dict(r.headers)["ce_type"] == b"record.failed"
    ]
    assert [(f["key"], f["code"]) for f in failed] == [(_key(503), "target.TOO_LONG")]


async def test_a_temporary_error_holds_back_its_own_chat_only_and_ends_after_three_attempts(world: World) -> None:
    await world.open()
    world.target.refuse_items[_key(503)] = {"code": "LATER", "retryable": True}
    await _chat_with_messages(world, 6, 5)
    async with world.importer(batch_items={"chat_messages": 2}, retry_delays_seconds=(0.3, 0.6)):
        await _chat_with_messages(world, 5, 10)
        await world.until_statuses("chat_messages", {"IMPORT_OK": 8, "IMPORT_ERR": 1, "NEW": 6})
    tried = [keys for _, keys in world.target.calls if _key(503) in keys]
    assert len(tried) == 3
    assert not [keys for _, keys in world.target.calls if _key(504) in keys]
    [row] = await world.database.dead_letters.find({}).to_list(None)
    assert (row["error_class"], row["attempts"]) == ("exhausted", 3)
    async with world.importer():
        world.target.refuse_items.clear()
        await world.database.dead_letters.update_one({"_id": row["_id"]}, {"$set": {"state": "replaying"}})
        await world.database.chat_messages.update_one({"_id": _key(503)}, {"$set": {"status": "NEW"}})
        await world.producer.send([world.outgoing("chat_messages", message(503, 5), replay_of=row["_id"])])
        await world.until_statuses("chat_messages", {"IMPORT_OK": 15})
        await world.until_nothing_is_parked()
    assert world.target.order[5] == sorted(world.target.order[5])


async def test_a_temporary_error_that_heals_keeps_the_order_of_its_chat(world: World) -> None:
    await world.open()
    world.target.refuse_items[_key(504)] = {"code": "LATER", "retryable": True}
    await _chat_with_messages(world, 5, 40)
    async with world.importer(batch_items={"chat_messages": 5}, retry_delays_seconds=(3.0, 30.0)):

        async def parked() -> bool:
            return bool(await world.database.parked.count_documents({"reason": "behind"}))

        await world.until(parked, "messages behind the one in retry")
        world.target.refuse_items.clear()
        await world.until_statuses("chat_messages", {"IMPORT_OK": 40})
    assert world.target.order[5] == sorted(world.target.order[5])
    assert await world.database.dead_letters.count_documents({}) == 0


async def test_a_dead_chat_keeps_its_messages_parked_until_its_replay_lets_them_go_in_order(world: World) -> None:
    await world.open()
    world.target.refuse_items["source:chat:5"] = {"code": "NO", "retryable": False}
    await _chat_with_messages(world, 5, 20)
    await _chat_with_messages(world, 6, 5)
    async with world.importer():
        await world.until_statuses("chat_messages", {"IMPORT_OK": 5, "NEW": 20})
        await world.until_statuses("chats", {"IMPORT_OK": 1, "IMPORT_ERR": 1})
        await asyncio.sleep(1)
        assert await world.database.parked.count_documents({}) == 20
    async with world.importer():
        [row] = await world.database.dead_letters.find({}).to_list(None)
        world.target.refuse_items.clear()
        await world.database.dead_letters.update_one({"_id": row["_id"]}, {"$set": {"state": "replaying"}})
        await world.database.chats.update_one({"_id": "source:chat:5"}, {"$set": {"status": "NEW"}})
        await world.producer.send([world.outgoing("chats", chat(5), replay_of=row["_id"])])
        await world.until_statuses("chat_messages", {"IMPORT_OK": 25})
        await world.until_nothing_is_parked()
    assert world.target.order[5] == sorted(world.target.order[5])
    [row] = await world.database.dead_letters.find({}).to_list(None)
    assert row["state"] == "replayed"


async def test_messages_wait_for_the_replay_of_a_dead_one_where_passing_is_forbidden(world: World) -> None:
    await world.open()
    world.target.refuse_items[_key(503)] = {"code": "NO", "retryable": False}
    await _chat_with_messages(world, 5, 10)
    changes: dict[str, Any] = {"may_pass_dead": False, "batch_items": {"chat_messages": 2}}
    async with world.importer(**changes):
        await world.until_statuses("chat_messages", {"IMPORT_OK": 3, "IMPORT_ERR": 1, "NEW": 6})
    async with world.importer(**changes):
        [row] = await world.database.dead_letters.find({}).to_list(None)
        world.target.refuse_items.clear()
        await world.database.dead_letters.update_one({"_id": row["_id"]}, {"$set": {"state": "replaying"}})
        await world.database.chat_messages.update_one({"_id": _key(503)}, {"$set": {"status": "NEW"}})
        await world.producer.send([world.outgoing("chat_messages", message(503, 5), replay_of=row["_id"])])
        await world.until_statuses("chat_messages", {"IMPORT_OK": 10})
    assert world.target.order[5] == sorted(world.target.order[5])


async def test_a_record_without_a_document_is_a_dead_letter(world: World) -> None:
    await world.open()
    await world.producer.send([world.outgoing("chats", chat(5))])
    async with world.importer():

        async def dead() -> bool:
            return bool(await world.database.dead_letters.count_documents({"code": "record.unknown", "copied": True}))

        await world.until(dead, "the dead letter")
    assert world.target.calls == []


@pytest.mark.parametrize(
    ("status", "told", "attempts", "behind"),
    [(413, {}, 1, 0), (500, {}, 3, 12), (503, {"retry-after": "1"}, 3, 12)],
    ids=["refused", "failing", "failing-with-a-time"],
)
async def test_a_poisoned_batch_is_bisected_and_only_the_poison_dies(
    world: World, status: int, told: dict[str, str], attempts: int, behind: int
) -> None:
    async def poisoned(_entity: str, items: list[dict[str, Any]]) -> Answer | None:
        return (status, b"<html>", told) if any(item["key"] == _key(517) for item in items) else None

    world.target.behave = poisoned
    await world.open()
    await _chat_with_messages(world, 5, 30)
    async with world.importer():
        ends = {"IMPORT_OK": 29 - behind, "IMPORT_ERR": 1, "NEW": behind}
        await world.until_statuses("chat_messages", {k: n for k, n in ends.items() if n}, seconds=60)
    [row] = await world.database.dead_letters.find({}).to_list(None)
    assert (row["key"], row["attempts"], row["code"]) == (_key(517), attempts, f"target.http_{status}")
    assert world.target.order[5] == sorted(world.target.order[5])


async def test_a_newer_version_makes_the_dead_letter_of_the_older_one_superseded(world: World) -> None:
    await world.open()
    world.target.refuse_items["source:chat:5"] = {"code": "NO", "retryable": False}
    await world.publish("chats", [chat(5)])
    async with world.importer():
        await world.until_statuses("chats", {"IMPORT_ERR": 1})
        world.target.refuse_items.clear()
        await world.publish("chats", [chat(5, "renamed")], version=11)
        await world.until_statuses("chats", {"IMPORT_OK": 1})
    row = await world.database.dead_letters.find_one({})
    assert row is not None
    assert row["state"] == "superseded"
