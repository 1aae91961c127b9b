"""An importer that is cut off between an import and the end of the dead letters that another one has left."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

import pytest
from tests.unit.importer.fakes import CrashError
from tests.unit.importer.machine import TOPICS, Machine, chat, message

from chatferry.common.contracts.target import ItemResult
from chatferry.common.entities import Entity
from chatferry.common.errors import OutageError
from chatferry.common.streaming.progress import Progress
from chatferry.common.streaming.records import StoredRecord
from chatferry.importer.domain.records import EXHAUSTED, ImportRecord, read_record
from chatferry.importer.ports import Dead
from chatferry.importer.sending import SendRules

_KEY = "source:chat:msg:101"


async def _taken_while_a_late_importer_declares_it_dead(
    machine: Machine, raw: StoredRecord, *, outage: bool, parked: bool
) -> None:
    """The new importer waits for the target's answer while the late one settles; then it is cut off."""
    late = machine.books
    record = read_record(raw, TOPICS[raw.topic], "p", parked=parked)
    machine.start()
    await machine.importer.take_over({p: machine.committed[p] for p in machine.logs})
    send, resolve = machine.target.send, machine.books.dead.resolve

    async def slow(entity: Entity, records: Sequence[ImportRecord]) -> list[ItemResult]:
        results = await send(entity, records)
        await late.settle([Dead(raw, record.entity, record, EXHAUSTED, "target.LATER", "m", 3, parked)], None)
        return results

    async def cut_off(replayed: Collection[str], newer: Mapping[str, int]) -> None:
        if newer.get(_KEY) == 2:
            raise OutageError("mongodb", "away") if outage else CrashError
        await resolve(replayed, newer)

    machine.target.send = slow  # type: ignore[method-assign]
    machine.books.dead.resolve = cut_off  # type: ignore[method-assign, assignment]
    drain, deliver = machine.importer.drain, machine.importer.deliver
    with pytest.raises(OutageError if outage else CrashError):
        await (drain(machine.clock, frozenset(TOPICS)) if parked else deliver([raw], Progress([raw])))
    machine.target.send = send  # type: ignore[method-assign]
    machine.books.dead.resolve = resolve  # type: ignore[method-assign]
    assert machine.store.documents[_KEY]["status"] == "IMPORT_OK"


@pytest.mark.parametrize("parked", [False, True], ids=["fresh", "parked"])
@pytest.mark.parametrize("outage", [False, True], ids=["crash", "outage"])
async def test_what_was_imported_beside_a_late_death_has_no_dead_letter_in_the_end(outage: bool, parked: bool) -> None:
    machine = Machine()
    machine.publish("chats", chat(1))
    await machine.run()
    raw = machine.publish("chat_messages", message(101, 1))
    if parked:
        machine.target.errors = {_KEY: (1, True)}
        await machine.go_on(1)
        machine.clock.seconds += 10
    await _taken_while_a_late_importer_declares_it_dead(machine, raw, outage=outage, parked=parked)
    await (machine.go_on(5) if outage else machine.run(5))
    assert [row["state"] for row in machine.store.dead.values()] == ["superseded"]
    assert "last_error" not in machine.store.documents[_KEY]
    machine.publish("chat_messages", message(201, 1))
    await machine.go_on(5)
    assert machine.applied(1) == [101, 201]


@pytest.mark.parametrize("at_once", [1, 10], ids=["one by one", "at once"])
async def test_an_older_version_that_comes_again_forgives_nothing_of_a_newer_one(at_once: int) -> None:
    machine = Machine(SendRules(lanes=1, batch_items={"chat_messages": 1}))
    machine.publish("chats", chat(1))
    await machine.run()
    machine.publish("chat_messages", message(101, 1, "before"), 1)
    for _ in range(2):
        machine.publish("chat_messages", message(101, 1, "after"), 2)
    send, resolve = machine.target.send, machine.books.dead.resolve
    refused = [False]

    async def refusing_once(entity: Entity, records: Sequence[ImportRecord]) -> list[ItemResult]:
        if records[0].version == 2 and not refused[0]:
            refused[0] = True
            return [ItemResult(key=_KEY, status="error", code="NO", retryable=False)]
        for _ in range(200):
            # Meanwhile the death is written down.
            await asyncio.sleep(0)
        return await send(entity, records)

    async def cut_off(replayed: Collection[str], newer: Mapping[str, int]) -> None:
        if newer.get(_KEY) == 3:
            machine.faults.dead = True
            raise CrashError
        await resolve(replayed, newer)

    machine.target.send = refusing_once  # type: ignore[method-assign]
    machine.books.dead.resolve = cut_off  # type: ignore[method-assign, assignment]
    assert await machine.go_on(1) == 1
    machine.at_once = at_once
    await machine.go_on(20)
    assert [row["state"] for row in machine.store.dead.values()] == ["superseded"]
    assert "last_error" not in machine.store.documents[_KEY]
