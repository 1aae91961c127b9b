"""Too many dead letters stop their family; nothing is dropped, and nothing more dies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.importer.fakes import FakeFamilies, FakeStore, Faults
from tests.unit.importer.machine import TOPICS, Machine, chat, message

from chatferry.common.entities import ENTITIES
from chatferry.common.errors import OutageError
from chatferry.importer.domain.records import read_record
from chatferry.importer.domain.standing import FamilyState, open_families
from chatferry.importer.limit import DeadLimit, DeadRules
from chatferry.importer.ports import Behind, Dead, Done, Ending, Waits
from chatferry.importer.sending import SendRules

MESSAGES = ENTITIES["chat_messages"]
RECORD = read_record(Machine().publish("chat_messages", message(101, 1)), MESSAGES, "p")
DONE, SKIPPED = Done(RECORD, "created", "t1"), Done(RECORD, "skipped", None)


def _dead(code: str = "target.NO", entity: str = "chat_messages") -> Dead:
    return Dead(RECORD.raw, ENTITIES[entity], RECORD, "permanent", code, "refused", 1)


def _limit(rules: DeadRules) -> DeadLimit:
    return DeadLimit(FakeFamilies(FakeStore()), rules)


def _admitted(limit: DeadLimit, endings: list[Ending]) -> int:
    """How many of the dead ones may be written down; they are."""
    weighed = limit.weigh(endings)
    limit.keep(weighed)
    assert [e for e in weighed.admitted if not isinstance(e, Dead)] == [e for e in endings if not isinstance(e, Dead)]
    return sum(isinstance(ending, Dead) for ending in weighed.admitted)


def test_so_many_in_a_row_may_die_and_no_more() -> None:
    assert _admitted(_limit(DeadRules(1.0, in_a_row=3)), [_dead()] * 5) == 3
    limit = _limit(DeadRules(1.0, in_a_row=3))
    assert _admitted(limit, [_dead(), _dead()]) == 2
    assert _admitted(limit, [_dead(), _dead()]) == 1


def test_one_that_arrives_begins_the_row_anew_but_not_one_that_was_there_before() -> None:
    assert _admitted(_limit(DeadRules(1.0, in_a_row=2)), [_dead(), _dead(), DONE, _dead(), _dead()]) == 4
    assert _admitted(_limit(DeadRules(1.0, in_a_row=2)), [_dead(), _dead(), SKIPPED, _dead(), _dead()]) == 2


def test_more_than_the_share_of_the_last_ones_may_not_die() -> None:
    limit = _limit(DeadRules(0.5, of_last=10, in_a_row=100))
    assert _admitted(limit, [DONE, _dead()] * 5) == 5
    assert _admitted(limit, [_dead()]) == 0
    assert _admitted(limit, [DONE, DONE, _dead()]) == 1


def test_a_family_is_weighed_for_itself() -> None:
    limit = _limit(DeadRules(1.0, in_a_row=2))
    endings: list[Ending] = [_dead(), _dead("x", "users"), _dead(), _dead("x", "users"), _dead()]
    weighed = limit.weigh(endings)
    assert list(weighed.passed) == ["chats"]
    assert len(weighed.admitted) == 4


def test_what_could_not_be_written_down_is_not_counted_twice() -> None:
    limit = _limit(DeadRules(1.0, in_a_row=3))
    for _ in range(5):
        assert limit.weigh([_dead(), _dead()]).passed == {}


async def test_the_sentence_names_the_commonest_code_and_what_to_type() -> None:
    limit = _limit(DeadRules(1.0, in_a_row=3))
    weighed = limit.weigh([_dead("target.A"), _dead("target.B"), _dead("target.B"), _dead("target.C")])
    with pytest.raises(OutageError) as halted:
        await limit.halt(weighed)
    for words in ("more than 3 records in a row", "most of them for target.B", "`chatferry dlq resume chats`"):
        assert words in halted.value.sentence
    assert limit.weigh([_dead()]).passed == {}


def test_a_halted_family_is_not_open() -> None:
    states = {"users": FamilyState(set_open=True, blocked=None), "chats": FamilyState(True, None, "too many died")}
    assert open_families(states) == {"users"}


def _machine(in_a_row: int, faults: Faults | None = None) -> Machine:
    rules = SendRules(lanes=2, batch_items={"chat_messages": 3}, dead=DeadRules(1.0, in_a_row=in_a_row))
    machine = Machine(rules, faults)
    machine.publish("chats", chat(1))
    return machine


async def _until_halted(machine: Machine) -> None:
    """A worker whose families are halted is given nothing more."""
    machine.start()
    await machine.importer.take_over({p: machine.committed[p] for p in machine.logs})
    for _ in range(30):
        if machine.store.families.get("chats", FamilyState(True, None)).halted:
            return
        await machine.go_on(1)
        # Where nothing else is written, a few that fail for now are believed only after a while.
        machine.clock.seconds += 30.0
    raise AssertionError("it was never halted")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.lists(st.booleans(), min_size=8, max_size=20))
async def test_beyond_the_limit_nothing_dies_and_after_it_everything_has_an_end(
    in_a_row: int, temporary: list[bool]
) -> None:
    machine = _machine(in_a_row)
    # All chats in one poll: one that arrives between two deaths would begin the row anew.
    machine.at_once = 50
    for number, one in enumerate(temporary, start=1):
        machine.publish("chats", chat(number + 1))
        machine.publish("chat_messages", message(number * 100 + number + 1, number + 1))
        machine.target.errors[f"source:chat:msg:{number * 100 + number + 1}"] = (99, one)
    machine.rules.batch_items["chat_messages"] = 1  # type: ignore[index]
    await _until_halted(machine)
    assert len(machine.store.dead) <= in_a_row
    machine.target.errors = {}
    machine.store.families.clear()
    await machine.go_on(40)
    statuses = {key: document["status"] for key, document in machine.store.documents.items()}
    dead = {row["dead"].record.key for row in machine.store.dead.values() if row["state"] == "dead"}
    assert {key for key, status in statuses.items() if status == "IMPORT_ERR"} == dead
    assert {key for key, status in statuses.items() if status != "IMPORT_ERR"} == set(machine.target.stored)
    assert machine.store.parked == {}


async def test_what_waits_and_what_was_done_beside_the_withheld_is_written_down() -> None:
    machine = _machine(1)
    machine.target.errors = {"source:chat:msg:101": (1, False), "source:chat:msg:201": (1, False)}
    for index in range(1, 6):
        machine.publish("chat_messages", message(index * 100 + 1, 1))
    await _until_halted(machine)
    assert [row["dead"].record.key for row in machine.store.dead.values()] == ["source:chat:msg:101"]
    assert machine.store.documents["source:chat:msg:201"]["status"] == "NEW"
    machine.store.families.clear()
    await machine.go_on(10)
    assert sorted(machine.applied(1)) == [201, 301, 401, 501]
    assert len(machine.store.dead) == 1


async def test_nothing_overtakes_the_withheld_where_passing_is_forbidden() -> None:
    rules = SendRules(lanes=2, batch_items={"chat_messages": 1}, may_pass_dead=False, dead=DeadRules(1.0, in_a_row=1))
    machine = Machine(rules)
    for chat_id in (1, 2):
        machine.publish("chats", chat(chat_id))
    machine.publish("chat_messages", message(101, 1))
    machine.target.errors = {"source:chat:msg:101": (9, False), "source:chat:msg:102": (1, False)}
    await machine.run(3)
    for index in range(1, 7):
        machine.publish("chat_messages", message(index * 100 + 2, 2))
    await machine.go_on(1)
    assert machine.store.families["chats"].halted
    assert machine.store.documents["source:chat:msg:102"]["status"] == "NEW"
    machine.store.families.clear()
    await machine.importer.drain(machine.clock, frozenset(TOPICS))
    await machine.go_on(10)
    assert machine.applied(2) == [102, 202, 302, 402, 502, 602]


async def test_an_outage_while_the_dead_are_written_down_does_not_count_them_again() -> None:
    machine = _machine(3)
    machine.target.errors = {f"source:chat:msg:{n}01": (99, False) for n in (1, 2, 3)}
    for index in range(1, 4):
        machine.publish("chat_messages", message(index * 100 + 1, 1))
    machine.start()
    await machine.importer.take_over({p: machine.committed[p] for p in machine.logs})
    for _ in range(4):
        machine.faults.outage, machine.faults.crash_at = True, len(machine.faults.seen) + 1
        await machine.go_on(1)
    await machine.go_on(10)
    assert machine.store.families == {}
    assert len(machine.store.dead) == 3


def test_unreadable_records_count_too() -> None:
    unreadable = Dead(RECORD.raw, MESSAGES, None, "undecodable", "body.null", "no body", 0)
    assert _admitted(_limit(DeadRules(1.0, in_a_row=2)), [unreadable] * 3) == 2
    waits = Waits(RECORD, Behind.BEHIND)
    assert _admitted(_limit(DeadRules(1.0, in_a_row=2)), [unreadable, waits, unreadable, unreadable]) == 2
