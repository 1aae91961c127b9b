"""Order, parking, retry and redelivery, over fakes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.importer.fakes import FakeFamilies, Faults
from tests.unit.importer.machine import Machine, chat, message

from chatferry.common.errors import OutageError
from chatferry.common.telemetry.metrics import Metrics
from chatferry.importer.caller import Caller, CallRules
from chatferry.importer.domain.records import EXHAUSTED, Line
from chatferry.importer.sending import SendRules


async def test_messages_that_come_before_their_chat_wait_for_it() -> None:
    machine = Machine()
    for index in range(1, 5):
        machine.publish("chat_messages", message(index * 100 + 1, 1))
    await machine.run(5)
    assert machine.target.stored == {}
    assert len(machine.store.parked) == 4
    machine.publish("chats", chat(1))
    await machine.run(10)
    assert machine.applied(1) == [101, 201, 301, 401]
    assert machine.store.parked == {}


async def test_a_message_passes_one_that_is_refused_for_good() -> None:
    machine = Machine()
    machine.publish_chat(1, 3)
    machine.target.errors = {"source:chat:msg:101": (99, False)}
    await machine.run(10)
    assert machine.applied(1) == [201, 301]
    assert machine.store.parked == {}


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_message_dead_of_temporary_errors_holds_its_chat_until_its_replay_is_taken(restarted: bool) -> None:
    machine = Machine(SendRules(lanes=2, batch_items={"chat_messages": 1}))
    machine.publish_chat(1, 4)
    machine.publish_chat(2, 2)
    machine.target.errors = {"source:chat:msg:201": (4, True)}
    await machine.run(20)
    machine.publish("chat_messages", message(501, 1))
    await machine.run(20) if restarted else await machine.go_on(20)
    assert machine.applied(1) == [101]
    assert machine.applied(2) == [102, 202]
    [(place, row)] = machine.store.dead.items()
    assert (row["dead"].error_class, len(machine.store.parked)) == ("exhausted", 3)
    row["state"] = "replaying"
    machine.store.documents["source:chat:msg:201"].update(status="NEW", attempts=0)
    machine.publish("chat_messages", message(201, 1), replay_of=place)
    # The replay fails once: it is tried again, ahead of those that wait for it.
    await machine.run(20) if restarted else await machine.go_on(20)
    assert machine.applied(1) == [101, 201, 301, 401, 501]
    assert row["state"] == "replayed"
    assert machine.store.parked == {}


@pytest.mark.parametrize("fails", [1, 0], ids=["that-fails-once", "that-comes-while-its-line-has-a-moment"])
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_replay_is_taken_however_many_wait_for_it(restarted: bool, fails: int) -> None:
    waiting = 1_200
    machine = Machine(SendRules(lanes=2))
    machine.at_once = 2 * waiting
    machine.publish_chat(1, 1 + waiting)
    machine.target.errors = {"source:chat:msg:101": (3, True)}
    await machine.run(20)
    [(place, row)] = machine.store.dead.items()
    assert len(machine.store.parked) == waiting
    row["state"] = "replaying"
    machine.store.documents["source:chat:msg:101"].update(status="NEW", attempts=0)
    machine.target.errors = {"source:chat:msg:101": (fails, True)}
    machine.publish("chat_messages", message(101, 1), replay_of=place)
    if fails == 0:
        machine.lines.wait_until(Line("p.chat_messages", 1, 1), 0.0)
    await machine.run(20) if restarted else await machine.go_on(20)
    assert len(machine.applied(1)) == 1 + waiting
    assert machine.applied(1) == sorted(machine.applied(1))
    assert machine.store.parked == {}


async def test_a_skipped_redelivery_publishes_its_result_again() -> None:
    machine = Machine()
    machine.publish_chat(1, 3)
    await machine.run(5)
    machine.committed.clear()
    await machine.run(5)
    assert len(machine.target.order) == 4
    assert sorted(result[3] for result in machine.store.results) == ["created"] * 4 + ["skipped"] * 4


async def test_redelivered_offsets_that_are_parked_or_dead_are_finished_without_a_call() -> None:
    machine = Machine()
    for index in range(1, 5):
        machine.publish("chat_messages", message(index * 100 + 1, 1))
    machine.append("chat_messages", 1, b"{", ())
    await machine.run(3)
    parked, dead = dict(machine.store.parked), dict(machine.store.dead)
    machine.committed.clear()
    await machine.run(3)
    assert machine.store.parked == parked
    assert machine.store.dead == dead
    assert len(machine.store.copies) == 1
    assert machine.target.calls == []
    assert sum(machine.committed.values()) == 5


async def test_new_content_begins_its_attempts_anew_and_an_older_version_is_superseded() -> None:
    machine = Machine()
    machine.publish_chat(1, 1)
    machine.target.errors = {"source:chat:msg:101": (2, True)}
    await machine.run(2)
    machine.publish("chat_messages", message(101, 1, "edited"), version=2)
    await machine.run(30)
    document = machine.store.documents["source:chat:msg:101"]
    assert (document["status"], document["imported_version"]) == ("IMPORT_OK", 2)
    assert machine.store.dead == {}


_EVENT = st.tuples(st.sampled_from(["message", "message", "message", "chat", "edit"]), st.integers(1, 4))
_ERRORS = st.dictionaries(
    st.tuples(st.integers(1, 12), st.integers(1, 4)), st.tuples(st.integers(1, 4), st.booleans()), max_size=4
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_EVENT, min_size=1, max_size=40), _ERRORS, st.integers(0, 60) | st.none(), st.booleans())
async def test_every_record_ends_and_order_holds_whatever_happens(
    events: list[tuple[str, int]],
    errors: dict[tuple[int, int], tuple[int, bool]],
    crash_at: int | None,
    after: bool,
) -> None:
    machine = Machine(faults=Faults(crash_at=crash_at, after=after))
    machine.target.errors = {f"source:chat:msg:{n * 100 + c}": error for (n, c), error in errors.items()}
    last: dict[int, int] = {}
    chats: set[int] = set()
    for number, (kind, chat_id) in enumerate(events, start=1):
        if kind == "chat":
            chats.add(chat_id)
            machine.publish("chats", chat(chat_id, f"{number}"), version=number)
        elif kind == "message" or chat_id not in last:
            last[chat_id] = last.get(chat_id, 0) + 1
            machine.publish("chat_messages", message(last[chat_id] * 100 + chat_id, chat_id), version=number)
        else:
            edited = last[chat_id] * 100 + chat_id
            machine.publish("chat_messages", message(edited, chat_id, f"{number}"), version=number)
    await machine.run(60)
    assert all(machine.committed[p] == len(log) for p, log in machine.logs.items())
    dead = [row["dead"] for row in machine.store.dead.values()]
    exhausted = {one.record.line.parent for one in dead if one.error_class == EXHAUSTED and one.entity.parent}
    for key, document in machine.store.documents.items():
        waiting = "msg" in key and int(key[-2:]) not in chats
        held = "msg" in key and int(key[-2:]) in exhausted
        ends = ("NEW",) if waiting else ("IMPORT_OK", "IMPORT_ERR", *(["NEW"] if held else []))
        assert document["status"] in ends, key
        assert machine.target.stored.get(key, 0) == document.get("imported_version", 0)
    assert all(row["record"].line.parent not in chats - exhausted for row in machine.store.parked.values())
    failing = {n * 100 + c for n, c in errors}
    for chat_id in chats:
        firsts = list(dict.fromkeys(number for number in machine.applied(chat_id) if number not in failing))
        assert firsts == sorted(firsts)


_HEALING = st.dictionaries(st.tuples(st.integers(1, 12), st.integers(1, 4)), st.integers(1, 2), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=30), _HEALING, st.integers(0, 60) | st.none())
async def test_no_message_overtakes_one_in_retry_from_call_to_call(
    chats: list[int], healing: dict[tuple[int, int], int], crash_at: int | None
) -> None:
    machine = Machine(SendRules(lanes=2, batch_items={"chat_messages": 1}), Faults(crash_at=crash_at))
    machine.target.errors = {f"source:chat:msg:{n * 100 + c}": (times, True) for (n, c), times in healing.items()}
    for chat_id in (1, 2, 3):
        machine.publish("chats", chat(chat_id))
    for number, chat_id in enumerate(chats, start=1):
        machine.publish("chat_messages", message(number * 100 + chat_id, chat_id))
    await machine.run(120)
    for chat_id in set(chats):
        wanted = [number * 100 + chat_id for number, of in enumerate(chats, start=1) if of == chat_id]
        assert machine.applied(chat_id) == wanted
    assert machine.store.dead == {}


async def test_a_message_in_retry_is_overtaken_by_none_of_its_own_batch() -> None:
    machine = Machine()
    machine.publish_chat(1, 5)
    machine.publish_chat(2, 5)
    machine.target.errors = {"source:chat:msg:201": (2, True), "source:chat:msg:102": (1, True)}
    await machine.run(30)
    assert machine.applied(1) == [101, 201, 301, 401, 501]
    assert machine.applied(2) == [102, 202, 302, 402, 502]
    assert {d.get("attempts", 0) for d in machine.store.documents.values()} == {0}


async def test_a_target_that_holds_nothing_back_gets_one_message_of_a_chat_at_a_time_once_that_is_seen() -> None:
    machine = Machine()
    machine.target.holds = False
    machine.publish_chat(1, 4)
    machine.target.errors = {"source:chat:msg:201": (1, True)}
    await machine.run(30)
    assert machine.applied(1) == [101, 301, 201, 401]
    machine.target.calls.clear()
    for index in range(5, 9):
        machine.publish("chat_messages", message(index * 100 + 1, 1))
    machine.target.errors = {"source:chat:msg:601": (2, True)}
    await machine.go_on(30)
    assert machine.applied(1)[4:] == [501, 601, 701, 801]
    assert {len(call) for call in machine.target.calls} == {1}


async def test_a_target_that_lost_its_chats_burns_no_message_and_gets_them_once_it_has_the_chats_again() -> None:
    machine = Machine()
    machine.publish_chat(1, 2)
    await machine.run(10)
    machine.target.parents = set()
    machine.publish("chat_messages", message(301, 1))
    await machine.run(10)
    assert machine.store.dead == {}
    assert "no longer has chats" in (machine.store.families["chats"].blocked or "")
    with pytest.raises(OutageError):
        await machine.caller.recheck()
    machine.target.parents = {1}
    await machine.caller.recheck()
    assert machine.store.families["chats"].blocked is None
    await machine.run(10)
    assert machine.applied(1) == [101, 201, 301]


async def test_an_importer_that_misses_no_parent_does_not_take_back_that_one_is_lost() -> None:
    machine = Machine()
    machine.publish_chat(1, 2)
    await machine.run(10)
    machine.target.parents = set()
    machine.publish("chat_messages", message(301, 1))
    await machine.run(10)
    families = FakeFamilies(machine.store)

    async def blocked() -> str | None:
        return (await families.states())["chats"].blocked

    said = str(await blocked())
    other = Caller(machine.target, families, machine.clock, Metrics(), CallRules())
    await other.unblock({"chats": said}, anew=False)
    assert await blocked() == said
    await other.unblock({"chats": said}, anew=True)
    assert await blocked() is None
    with pytest.raises(OutageError):
        await machine.caller.recheck()
    assert await blocked() == said


async def test_a_target_that_has_its_chats_again_may_refuse_the_message_that_missed_one() -> None:
    machine = Machine()
    machine.publish_chat(1, 2)
    await machine.run(10)
    machine.target.parents = set()
    machine.publish("chat_messages", message(301, 1))
    await machine.run(10)
    machine.target.parents = {1}
    machine.target.errors = {"source:chat:msg:301": (99, False)}
    await machine.caller.recheck()
    assert machine.store.families["chats"].blocked is None
    machine.publish("chat_messages", message(401, 1))
    await machine.run(10)
    assert machine.applied(1) == [101, 201, 401]
    assert [row["state"] for row in machine.store.dead.values()] == ["dead"]
