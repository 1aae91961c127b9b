"""What is in hand when the importer has to end, or to give partitions back."""

from __future__ import annotations

from unittest.mock import AsyncMock

import pytest
from tests.unit.importer.machine import Machine, chat, message

from chatferry.importer.sending import SendRules


async def test_what_is_not_begun_stays_unfinished_and_waits_for_nothing() -> None:
    machine = Machine()
    machine.publish_chat(1, 3)
    machine.stopping = lambda: True
    await machine.run(3)
    assert machine.target.stored == {}
    assert machine.store.parked == {}
    assert set(machine.committed.values()) == {0}
    machine.stopping = lambda: False
    await machine.go_on(5)
    assert machine.applied(1) == [101, 201, 301]


async def test_a_batch_that_is_halved_begins_no_half_and_nothing_goes_past_it() -> None:
    machine = Machine(SendRules(lanes=1, batch_items={"chats": 2, "chat_messages": 2}))
    machine.publish_chat(1, 4)
    await machine.run(0)
    machine.target.poison = {"source:chat:msg:101"}
    whole = ["source:chat:msg:101", "source:chat:msg:201"]
    asked: list[bool] = []

    def stopping() -> bool:
        """For the one moment in which the batch has failed as a whole; the others are not hurried."""
        failed = machine.target.calls.count(whole) == 3
        asked.append(failed)
        return failed and asked.count(True) == 1

    machine.stopping = stopping
    await machine.go_on(1)
    assert machine.target.calls[-1] == whole
    assert machine.applied(1) == []
    machine.target.poison = set()
    await machine.go_on(10)
    assert machine.applied(1) == [101, 201, 301, 401]


async def test_lines_whose_drain_was_cut_go_on_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    for index in (1, 2):
        machine.publish("chat_messages", message(index * 100 + 1, 1))
    await machine.run(2)
    machine.publish("chats", chat(1))
    machine.at_once = 1
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(machine.importer, "drain", AsyncMock(return_value=0))
        await machine.go_on(1)
    machine.stopping = lambda: True
    await machine.go_on(1)
    assert len(machine.store.parked) == 2
    machine.stopping = lambda: False
    machine.publish("chat_messages", message(301, 1))
    await machine.go_on(5)
    assert machine.applied(1) == [101, 201, 301]
    assert machine.store.parked == {}
