"""What every store of the importer has to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.contract.importer.stores import Stores
from tests.unit.importer.machine import Machine, message

from chatferry.common.entities import ENTITIES
from chatferry.common.streaming.records import Partition, StoredRecord
from chatferry.importer.domain.records import ImportRecord, Line, place_of, read_record
from chatferry.importer.domain.standing import Standing
from chatferry.importer.ports import Dead, Done, Room

MESSAGES = ENTITIES["chat_messages"]
ROOM = Room(10, 1_000_000)
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


def _records(*numbers: int, chat_id: int = 2, version: int = 5) -> list[ImportRecord]:
    machine = Machine()
    raws = [machine.publish("chat_messages", message(number, chat_id), version) for number in numbers]
    return [read_record(raw, MESSAGES, "p") for raw in raws]


def _stored(record: ImportRecord) -> StoredRecord:
    assert isinstance(record.raw, StoredRecord)
    return record.raw


def _later(record: ImportRecord, number: int) -> ImportRecord:
    """Another record at the same place of a topic that was made anew."""
    [other] = _records(number)
    raw = replace(_stored(other), offset=record.raw.offset, timestamp=record.raw.timestamp + 60_000)
    return read_record(raw, MESSAGES, "p")


def _dead(record: ImportRecord) -> Dead:
    return Dead(record.raw, MESSAGES, record, "permanent", "target.NO", "refused", 1)


async def test_standings_leave_out_what_has_no_document(stores: Stores) -> None:
    await stores.add("source:chat:msg:1", 5)
    standings = await stores.records.standings(MESSAGES, ["source:chat:msg:1", "source:chat:msg:2"])
    assert standings == {"source:chat:msg:1": Standing(5, "NEW", 0, 0, erred=False)}


async def test_done_sets_version_hash_and_id_and_an_error_stays_until_it_is_forgiven(stores: Stores) -> None:
    first, second = _records(1, 2)
    for record in (first, second):
        await stores.add(record.key, 5)
    await stores.records.mark_failed(MESSAGES, "ERROR_RETRY", [(second.key, 5, 1, "target.LATER")])
    failed = {"attempts": 1, "last_error": "target.LATER"}
    assert failed.items() <= (await stores.document(second.key)).items()
    await stores.records.mark_done(MESSAGES, [Done(first, "created", "t1"), Done(second, "created", "t2", True)])
    imported = {
        "version": 5,
        "status": "IMPORT_OK",
        "payload_hash": "hash of 5",
        "imported_hash": "hash of 5",
        "imported_version": 5,
    }
    assert await stores.document(first.key) == imported | {"target_id": "t1"}
    assert await stores.document(second.key) == imported | {"target_id": "t2"} | failed
    assert await stores.records.left(MESSAGES, 10) == {second.key: 5}
    await stores.records.forgive(MESSAGES, {first.key: 5, second.key: 5})
    assert await stores.records.left(MESSAGES, 10) == {}
    assert await stores.document(first.key) == imported | {"target_id": "t1"}
    assert await stores.document(second.key) == imported | {"target_id": "t2"}
    assert await stores.records.imported(MESSAGES, [first.key, "source:chat:msg:9"]) == {first.key}


async def test_what_is_not_imported_is_not_forgiven(stores: Stores) -> None:
    [record] = _records(1)
    await stores.add(record.key, 5)
    await stores.records.mark_failed(MESSAGES, "ERROR_RETRY", [(record.key, 5, 1, "target.LATER")])
    before = await stores.document(record.key)
    assert await stores.records.left(MESSAGES, 10) == {}
    await stores.records.forgive(MESSAGES, {record.key: 5, "source:chat:msg:9": 5})
    assert await stores.document(record.key) == before


async def test_an_older_version_forgives_nothing_of_a_newer_one(stores: Stores) -> None:
    [record] = _records(1, version=6)
    await stores.add(record.key, 6)
    await stores.records.mark_failed(MESSAGES, "ERROR_RETRY", [(record.key, 6, 1, "target.LATER")])
    await stores.records.mark_done(MESSAGES, [Done(record, "created", "t1", True)])
    before = await stores.document(record.key)
    await stores.records.forgive(MESSAGES, {record.key: 5})
    assert await stores.document(record.key) == before


async def test_of_what_erred_and_was_imported_no_more_is_told_than_was_asked_for(stores: Stores) -> None:
    records = _records(1, 2, 3)
    for record in records:
        await stores.add(record.key, 5)
    await stores.records.mark_failed(MESSAGES, "ERROR_RETRY", [(one.key, 5, 1, "target.LATER") for one in records])
    await stores.records.mark_done(MESSAGES, [Done(one, "created", "t1", True) for one in records])
    assert len(await stores.records.left(MESSAGES, 2)) == 2
    assert await stores.records.left(ENTITIES["chats"], 2) == {}


async def test_a_result_for_an_older_version_never_marks_a_newer_one(stores: Stores) -> None:
    [record] = _records(1)
    await stores.add(record.key, 7)
    await stores.records.mark_done(MESSAGES, [Done(record, "created", "t1")])
    document = await stores.document(record.key)
    assert (document["status"], document["imported_version"]) == ("NEW", 5)
    await stores.records.mark_failed(MESSAGES, "IMPORT_ERR", [(record.key, 5, 1, "target.NO")])
    assert (await stores.document(record.key))["status"] == "NEW"


async def test_a_late_error_never_marks_what_is_imported(stores: Stores) -> None:
    [record] = _records(1)
    await stores.add(record.key, 5)
    await stores.records.mark_done(MESSAGES, [Done(record, "created", "t1")])
    await stores.records.mark_failed(MESSAGES, "IMPORT_ERR", [(record.key, 5, 1, "target.NO")])
    assert (await stores.document(record.key))["status"] == "IMPORT_OK"


@pytest.mark.parametrize(
    ("came_to", "late"), [("IMPORT_ERR", "ERROR_RETRY"), ("SKIPPED", "ERROR_RETRY"), ("SKIPPED", "IMPORT_ERR")]
)
async def test_a_late_importer_brings_nothing_back_that_has_ended(stores: Stores, came_to: str, late: str) -> None:
    [record] = _records(1)
    await stores.add(record.key, 5)
    await stores.records.mark_failed(MESSAGES, came_to, [(record.key, 5, 3, "target.NO")])
    await stores.records.mark_failed(MESSAGES, late, [(record.key, 5, 2, "target.NO")])
    assert (await stores.document(record.key))["status"] == came_to


async def test_a_skipped_record_has_a_reason_and_no_error(stores: Stores) -> None:
    [record] = _records(1)
    await stores.add(record.key, 5)
    await stores.records.mark_failed(MESSAGES, "SKIPPED", [(record.key, 5, 0, "parent discarded")])
    assert await stores.document(record.key) == {
        "version": 5,
        "status": "SKIPPED",
        "payload_hash": "hash of 5",
        "skip_reason": "parent discarded",
    }


async def test_an_answer_without_an_id_keeps_the_id_that_is_known(stores: Stores) -> None:
    [record] = _records(1)
    await stores.add(record.key, 5)
    await stores.records.mark_done(MESSAGES, [Done(record, "created", "t1")])
    await stores.records.mark_done(MESSAGES, [Done(record, "unchanged", None)])
    assert (await stores.document(record.key))["target_id"] == "t1"


async def test_parked_rows_come_back_byte_for_byte_line_by_line_in_offset_order(stores: Stores) -> None:
    one = _records(1, 2, 3)
    await stores.parked.park([(record, "behind", None) for record in (one[2], one[0], one[1])])
    await stores.parked.park([(one[0], "retry", MOMENT)])
    elsewhere = replace(_stored(one[1]), topic="x")
    partition = Partition("p.chat_messages", 0)
    rows, cut = await stores.parked.rows(partition, [2], ROOM)
    assert cut is None
    assert [row.raw for row in rows] == [record.raw for record in one]
    assert rows[0].not_before == 0
    rows, cut = await stores.parked.rows(partition, [2], Room(2, 10_000))
    assert ([row.raw.offset for row in rows], cut) == ([0, 1], 2)
    size = len(one[0].body)
    for size_bytes, offsets in ((2 * size, [0, 1]), (size, [0]), (1, [0])):
        rows, cut = await stores.parked.rows(partition, [2], Room(10, size_bytes))
        assert ([row.raw.offset for row in rows], cut) == (offsets, 2)
    [line] = [stored for stored in await stores.parked.lines([partition]) if stored.line.parent == 2]
    assert (line.line, line.not_before, line.last) == (Line("p.chat_messages", 0, 2), None, 2)
    await stores.parked.postpone({place_of(one[0].raw): MOMENT})
    [line] = [stored for stored in await stores.parked.lines([partition]) if stored.line.parent == 2]
    assert (line.not_before, line.last) == (MOMENT.timestamp(), 2)
    assert await stores.parked.known([one[1].raw, elsewhere]) == {place_of(one[1].raw)}
    await stores.parked.drop([place_of(record.raw) for record in one])
    assert await stores.parked.rows(partition, [2], ROOM) == ([], None)


async def test_at_a_place_of_a_topic_that_was_made_anew_rows_of_both_topics_wait_the_older_ones_first(
    stores: Stores,
) -> None:
    [first, behind] = _records(1, 2)
    second = _later(first, 3)
    third = read_record(replace(_stored(_later(first, 4)), timestamp=120_000), MESSAGES, "p")
    for record in (first, behind, second, third):
        assert await stores.parked.known([record.raw]) == set()
        for _ in range(2):
            await stores.parked.park([(record, "behind", None)])
            assert await stores.parked.known([record.raw]) == {place_of(record.raw)}
    rows, _ = await stores.parked.rows(Partition("p.chat_messages", 0), [2], ROOM)
    assert [row.raw.value for row in rows] == [one.raw.value for one in (first, second, third, behind)]
    assert await stores.parked.known([first.raw, third.raw]) == {place_of(third.raw)}
    await stores.parked.drop([place_of(row.raw) for row in rows])
    assert await stores.parked.rows(Partition("p.chat_messages", 0), [2], ROOM) == ([], None)


async def test_at_a_place_of_a_topic_that_was_made_anew_there_is_a_letter_of_both_topics(stores: Stores) -> None:
    [first] = _records(1)
    second = _later(first, 2)
    await stores.dead.open([_dead(first)])
    assert await stores.dead.known([second.raw]) == set()
    await stores.dead.copied([place_of(first.raw)])
    for _ in range(2):
        await stores.dead.open([_dead(second)])
    assert await stores.dead.known([second.raw]) == {place_of(second.raw)}
    [left] = await stores.dead.uncopied([Partition("p.chat_messages", 0)], ROOM)
    assert left.raw == second.raw
    assert len(await stores.dead_states()) == 2


async def test_replays_that_wait_are_found_without_those_that_wait_for_them(stores: Stores) -> None:
    machine, partition = Machine(), Partition("p.chat_messages", 0)
    waiting = [machine.publish("chat_messages", message(number, 2)) for number in (1, 2, 3)]
    replays = [machine.publish("chat_messages", message(number, 2), replay_of="p/0/1") for number in (4, 5)]
    records = [read_record(raw, MESSAGES, "p") for raw in (*waiting, *replays)]
    await stores.parked.park([(record, "behind", None) for record in records])
    rows, cut = await stores.parked.rows(partition, [2], ROOM, replays=True)
    assert ([row.raw for row in rows], cut) == (replays, None)
    rows, cut = await stores.parked.rows(partition, [2], Room(1, 10_000), replays=True)
    assert ([row.raw for row in rows], cut) == (replays[:1], 2)
    assert [line.not_before for line in await stores.parked.lines([partition])] == [0.0]
    await stores.parked.postpone({place_of(replays[0]): MOMENT})
    assert [line.not_before for line in await stores.parked.lines([partition])] == [MOMENT.timestamp()]
    await stores.parked.drop([place_of(raw) for raw in replays])
    assert [line.not_before for line in await stores.parked.lines([partition])] == [None]


async def test_what_there_was_no_room_for_begins_with_the_line_that_is_named(stores: Stores) -> None:
    machine = Machine()
    for number, chat_id in enumerate((5, 1, 3), start=1):
        raw = machine.publish("chat_messages", message(number, chat_id))
        await stores.parked.park([(read_record(raw, MESSAGES, "p"), "parent", None)])
    partition = Partition("p.chat_messages", 1)
    for room, parents, cut in ((1, [1], 3), (2, [1, 3], 5), (3, [1, 3, 5], None)):
        rows, named = await stores.parked.rows(partition, [5, 3, 1], Room(room, 1_000_000))
        assert ([int(row.raw.key or b"") for row in rows], named) == (parents, cut)


async def test_a_dead_letter_is_opened_once_and_uncopied_until_it_is_copied(stores: Stores) -> None:
    one, two = _records(1, 2)
    partition = Partition("p.chat_messages", 0)
    await stores.dead.open([_dead(one)])
    await stores.dead.open([_dead(one), _dead(two)])
    left = await stores.dead.uncopied([partition], ROOM)
    assert [(dead.raw, dead.record, dead.code, dead.attempts) for dead in left] == [
        (one.raw, one, "target.NO", 1),
        (two.raw, two, "target.NO", 1),
    ]
    [first] = await stores.dead.uncopied([partition], Room(10, 1))
    assert first.raw == one.raw
    await stores.dead.copied([place_of(one.raw)])
    await stores.dead.copied([place_of(two.raw)], keep_raw=True)
    assert await stores.dead.uncopied([partition], ROOM) == []
    assert await stores.dead.last_offsets({partition: 0}) == {partition: 1}
    assert await stores.dead.last_offsets({partition: 2}) == {}
    assert await stores.dead.known([one.raw, replace(_stored(one), topic="x")]) == {place_of(one.raw)}


async def test_a_replay_and_newer_content_end_a_dead_letter(stores: Stores) -> None:
    one, two, three = _records(1, 2, 3)
    await stores.dead.open([_dead(one), _dead(two), _dead(three)])
    assert await stores.dead.holding(MESSAGES, [2, 3]) == {2}
    assert await stores.dead.holding(MESSAGES, [2, 3], exhausted_only=True) == set()
    [four] = _records(4, chat_id=3)
    exhausted = Dead(four.raw, MESSAGES, four, "exhausted", "target.LATER", "too often", 3)
    await stores.dead.open([exhausted])
    assert await stores.dead.holding(MESSAGES, [2, 3], exhausted_only=True) == {3}
    await stores.replaying(place_of(one.raw))
    assert await stores.dead.replaying([place_of(one.raw), place_of(two.raw), "x/0/1"]) == {place_of(one.raw)}
    await stores.dead.resolve([place_of(one.raw)], {two.key: 6, three.key: 5})
    assert await stores.dead.replaying([place_of(one.raw)]) == set()
    assert await stores.dead_states() == {
        place_of(one.raw): "replayed",
        place_of(two.raw): "superseded",
        place_of(three.raw): "dead",
        place_of(four.raw): "dead",
    }


async def test_an_error_that_the_importer_did_not_know_of_is_told_and_left(stores: Stores) -> None:
    unaware, aware = _records(1, 2)
    for record in (unaware, aware):
        await stores.add(record.key, 5)
        await stores.records.mark_failed(MESSAGES, "IMPORT_ERR", [(record.key, 5, 3, "target.NO")])
    late = await stores.records.mark_done(
        MESSAGES, [Done(unaware, "created", "t1"), Done(aware, "created", "t2", True)]
    )
    assert late == {unaware.key}
    assert (await stores.document(unaware.key))["status"] == "IMPORT_ERR"
    assert (await stores.document(aware.key))["status"] == "IMPORT_OK"
    assert await stores.records.mark_done(MESSAGES, [Done(unaware, "created", "t1", True)]) == set()
    assert (await stores.document(unaware.key))["status"] == "IMPORT_OK"


async def test_a_replay_that_its_parent_took_with_it_ends_as_discarded(stores: Stores) -> None:
    aside, unclaimed = _records(1, 2)
    await stores.dead.open([_dead(aside), _dead(unclaimed)])
    await stores.replaying(place_of(aside.raw))
    await stores.dead.resolve([place_of(aside.raw), place_of(unclaimed.raw)], {}, given_up=True)
    assert await stores.dead_states() == {place_of(aside.raw): "discarded", place_of(unclaimed.raw): "dead"}


async def test_a_dead_letter_that_nobody_sends_again_is_not_ended_by_a_record_that_says_it_is_its_replay(
    stores: Stores,
) -> None:
    claimed, forged = _records(1, 2)
    await stores.dead.open([_dead(claimed), _dead(forged)])
    await stores.replaying(place_of(claimed.raw))
    await stores.dead.resolve([place_of(claimed.raw), place_of(forged.raw)], {})
    assert await stores.dead_states() == {place_of(claimed.raw): "replayed", place_of(forged.raw): "dead"}
