"""A wall clock that is set back: what is in retry is not put off until the old time is back."""

from __future__ import annotations

import pytest
from tests.unit.importer.machine import Machine, chat, message

from chatferry.importer.domain.records import Line
from chatferry.importer.lines import Lines


@pytest.mark.parametrize("restarted", [True, False], ids=["a new process", "the same process"])
async def test_a_record_in_retry_does_not_wait_for_the_time_that_was(restarted: bool) -> None:
    machine = Machine()
    machine.publish("chats", chat(1))
    machine.target.errors = {"source:chat:msg:101": (1, True)}
    machine.publish("chat_messages", message(101, 1))
    machine.publish("chat_messages", message(201, 1))
    await machine.run(2)
    assert machine.store.documents["source:chat:msg:101"]["status"] == "ERROR_RETRY"
    machine.clock.set_back_s = 3_600.0
    await (machine.run(3) if restarted else machine.go_on(3))
    assert machine.applied(1) == [101, 201]
    assert machine.store.parked == {}


def test_a_moment_further_ahead_than_any_delay_has_come() -> None:
    lines, line = Lines(longest_s=7.2), Line("t", 0, 1)
    for moment, due in ((100.0, True), (107.2, False), (100.1, False), (107.3, True), (99.0, True)):
        lines.wait_until(line, moment)
        assert lines.has_come(moment, 100.0) is due
        assert bool(lines.due(100.0, {"t"}, 1)) is due
