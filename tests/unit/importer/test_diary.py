"""What an importer's log says to on-call: a line for each call or change, with entity and run, and no record's text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.importer.fakes import FakeFamilies, FakeParked
from tests.unit.importer.machine import TOPICS, FakeRuntime, Machine, chat, message

from chatferry.importer.domain.records import place_of
from chatferry.importer.domain.standing import FamilyState
from chatferry.importer.handlers import ImportWorker
from chatferry.importer.limit import DeadRules
from chatferry.importer.ports import Trouble
from chatferry.importer.sending import SendRules

OPEN = FamilyState(set_open=True, blocked=None, run="chats-7")
Said = Callable[[], list[dict[str, Any]]]


def _lines(said: Said, *events: str) -> list[dict[str, Any]]:
    """Of these events, without what every line has."""
    general = ("event", "level", "logger", "service", "timestamp")
    return [{k: v for k, v in one.items() if k not in general} for one in said() if one["event"] in events]


async def _worker(machine: Machine) -> ImportWorker:
    machine.start()
    worker = ImportWorker(
        machine.importer, machine.caller, FakeFamilies(machine.store), FakeParked(machine.store), TOPICS
    )
    worker.run_on(machine.clock, machine.metrics, FakeRuntime())
    machine.store.families["chats"] = OPEN
    await worker.rebalanced(dict.fromkeys(machine.logs, 0))
    return worker


async def test_a_call_whose_records_die_is_one_line_with_their_number_entity_and_run(said: Said) -> None:
    machine = Machine(SendRules(lanes=1, batch_items={"chat_messages": 10}))
    for number in (101, 201, 301, 401):
        machine.publish("chat_messages", message(number, 1, "the text of a message"))
        machine.target.errors[f"source:chat:msg:{number}"] = (9, False)
    machine.publish("chats", chat(1))
    await _worker(machine)
    await machine.go_on(3)
    assert _lines(said, "records.dead") == [
        {
            "entity": "chat_messages",
            "run": "chats-7",
            "error_class": "permanent",
            "records": 4,
            "code": "target.NO",
        }
    ]
    assert "the text of a message" not in str(said())


async def test_a_thousand_records_that_arrive_are_no_line(said: Said) -> None:
    machine = Machine(SendRules())
    machine.at_once = 2_000
    machine.publish_chat(1, 1_000)
    await machine.run(5)
    assert len(machine.target.stored) == 1_001
    assert said() == []


async def test_a_batch_that_is_bisected_is_one_line_however_often_it_is_halved(said: Said) -> None:
    machine = Machine(SendRules(lanes=1, batch_items={"chat_messages": 8}))
    machine.at_once = 20
    machine.publish_chat(2, 8)
    machine.target.poison = {"source:chat:msg:502"}
    await _worker(machine)
    await machine.go_on(1)
    assert _lines(said, "batch.bisected") == [
        {"entity": "chat_messages", "run": "chats-7", "records": 8, "code": "target.http_500"}
    ]


@pytest.mark.parametrize(
    ("trouble", "event"), [(Trouble.DENIED, "target.blocked"), (Trouble.SHAKY, "target.away")], ids=["denied", "away"]
)
async def test_that_the_target_is_away_or_blocks_is_said_once_and_once_that_it_is_back(
    said: Said, trouble: Trouble, event: str
) -> None:
    machine = Machine()
    machine.publish_chat(1, 3)
    machine.target.away = trouble
    await machine.run(9)
    assert len(machine.outages) > 5
    machine.target.away = None
    await machine.go_on(9)
    assert _lines(said, "target.away", "target.blocked", "target.back") == [
        {"entity": "chats", "code": "target.away"},
        {"entity": "chats", "after": event},
    ]
    assert [one["event"] for one in said()] == [event, "target.back"]


async def test_a_limit_that_stops_a_family_is_said_once_with_its_reason_and_so_is_its_end(said: Said) -> None:
    machine = Machine(SendRules(lanes=1, dead=DeadRules(1.0, in_a_row=2)))
    machine.publish("chats", chat(1))
    for number in (101, 201, 301, 401):
        machine.publish("chat_messages", message(number, 1))
        machine.target.errors[f"source:chat:msg:{number}"] = (9, False)
    worker = await _worker(machine)
    await machine.go_on(3)
    for _ in range(3):
        machine.clock.seconds += 1.0
        await worker.idle()
    machine.store.families["chats"] = OPEN
    machine.clock.seconds += 1.0
    await worker.idle()
    opened, halted, resumed = _lines(said, "set.opened", "set.closed", "set.halted", "set.resumed")
    assert {"entity": "chats", "run": "chats-7"} == opened == resumed
    assert "more than 2 records in a row" in halted.pop("reason")
    assert halted == opened


async def test_replays_that_arrive_are_one_line_a_call(said: Said) -> None:
    machine = Machine(SendRules(lanes=1))
    machine.publish("chats", chat(1))
    records = []
    for number in (101, 201, 301):
        machine.target.errors[f"source:chat:msg:{number}"] = (1, False)
        records.append((number, machine.publish("chat_messages", message(number, 1))))
    await _worker(machine)
    await machine.go_on(2)
    for number, record in records:
        machine.store.dead[place_of(record)]["state"] = "replaying"
        machine.store.documents[f"source:chat:msg:{number}"].update(status="NEW", attempts=0)
        machine.publish("chat_messages", message(number, 1), replay_of=place_of(record))
    await machine.go_on(2)
    assert _lines(said, "replays.imported") == [{"entity": "chat_messages", "run": "chats-7", "records": 3}]
