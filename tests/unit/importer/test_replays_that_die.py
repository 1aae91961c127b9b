"""A replay whose record dies again: it ends, however often it was sent, and its chat goes on once it is given up."""

from __future__ import annotations

import pytest
from tests.unit.importer.machine import Machine, chat, message

from chatferry.importer.domain.records import place_of

_KEY = "source:chat:msg:101"


async def _with_exhausted() -> tuple[Machine, str]:
    """A message that the target never takes has died; those of another chat were written meanwhile."""
    machine = Machine()
    for chat_id in (1, 3):
        machine.publish("chats", chat(chat_id))
    first = machine.publish("chat_messages", message(101, 1))
    for index in range(1, 6):
        machine.publish("chat_messages", message(index * 100 + 3, 3))
    machine.target.errors = {_KEY: (10**6, True)}
    await machine.run(30)
    assert _states(machine) == {place_of(first): "dead"}
    return machine, place_of(first)


def _replay(machine: Machine, place: str, copies: int = 1) -> None:
    """As the operator does it; killed before it has noted that they are sent, it sends a second copy."""
    machine.store.dead[place]["state"] = "replaying"
    machine.store.documents[_KEY]["status"] = "NEW"
    machine.store.documents[_KEY].pop("attempts", None)
    for _ in range(copies):
        machine.publish("chat_messages", message(101, 1), replay_of=place)


def _discard(machine: Machine) -> None:
    for row in machine.store.dead.values():
        if row["state"] == "dead":
            row["state"] = "discarded"
    machine.store.documents[_KEY].update(status="SKIPPED", skip_reason="discarded: not ours")


def _states(machine: Machine) -> dict[str, str]:
    return {place: row["state"] for place, row in machine.store.dead.items()}


def _calls(machine: Machine) -> int:
    return sum(_KEY in call for call in machine.target.calls)


async def _goes_on_after_discard(machine: Machine) -> None:
    """Nothing of it is called any more, though the target would take it now; what comes later arrives."""
    _discard(machine)
    machine.target.errors = {}
    before = _calls(machine)
    machine.publish("chat_messages", message(201, 1))
    machine.publish("chat_messages", message(301, 1))
    for _ in range(3):
        await machine.go_on(40)
        await machine.importer.reload_lines()
    assert _calls(machine) == before
    assert machine.applied(1) == [201, 301]
    assert machine.store.parked == {}
    assert machine.store.documents[_KEY]["status"] == "SKIPPED"


async def _writes_of(copies: int) -> list[str]:
    machine, place = await _with_exhausted()
    _replay(machine, place, copies)
    begun = len(machine.faults.seen)
    await machine.go_on(40)
    return machine.faults.seen[begun:]


@pytest.mark.parametrize("copies", [1, 2], ids=["one copy", "two copies"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("outage", [False, True], ids=["crash", "outage"])
async def test_a_replay_that_dies_ends_whatever_strikes_around_any_of_its_writes(
    outage: bool, after: bool, copies: int
) -> None:
    writes = await _writes_of(copies)
    assert {"call", "park", "dead row", "copy", "dead resolved", "status IMPORT_ERR", "drop"} <= set(writes)
    for moment, what in enumerate(writes):
        machine, place = await _with_exhausted()
        _replay(machine, place, copies)
        machine.faults.crash_at = len(machine.faults.seen) + moment
        machine.faults.after, machine.faults.outage = after, outage
        await machine.go_on(80)
        ended = _calls(machine)
        await machine.go_on(100)
        assert _calls(machine) == ended, (moment, what)
        assert machine.store.parked == {}, (moment, what)
        states = _states(machine)
        assert states.pop(place) == "replayed", (moment, what)
        # Copies that were tried in one call die together: one discard gives both up.
        assert list(states.values()) in (["dead"], ["dead"] * copies), (moment, what)
        assert machine.store.documents[_KEY]["status"] == "IMPORT_ERR", (moment, what)
        await _goes_on_after_discard(machine)


@pytest.mark.parametrize("discarded", [False, True], ids=["dead", "discarded"])
async def test_a_copy_that_comes_after_the_first_one_has_died_is_not_tried(discarded: bool) -> None:
    machine, place = await _with_exhausted()
    _replay(machine, place)
    await machine.go_on(30)
    before = _calls(machine)
    if discarded:
        _discard(machine)
    machine.target.errors = {}
    machine.publish("chat_messages", message(101, 1), replay_of=place)
    await machine.go_on(60)
    assert _calls(machine) == before
    assert machine.store.parked == {}
    await _goes_on_after_discard(machine)


async def test_each_of_two_letters_of_one_record_has_its_own_replay_and_both_end() -> None:
    machine, _ = await _with_exhausted()
    machine.publish("chat_messages", message(101, 1))
    machine.store.documents[_KEY]["status"] = "NEW"
    await machine.go_on(30)
    _discard(machine)
    for row in machine.store.dead.values():
        row["state"] = "dead"
    machine.store.documents[_KEY]["status"] = "IMPORT_ERR"
    letters = list(machine.store.dead)
    for letter in letters:
        _replay(machine, letter)
    before = _calls(machine)
    await machine.go_on(80)
    ended = _calls(machine)
    assert ended - before <= 3 * len(letters)
    await machine.go_on(100)
    assert _calls(machine) == ended
    assert machine.store.parked == {}
    assert all(_states(machine)[letter] == "replayed" for letter in letters)
    await _goes_on_after_discard(machine)


async def test_a_replay_that_was_asked_for_is_tried_though_its_record_was_skipped_meanwhile_and_it_ends() -> None:
    machine, place = await _with_exhausted()
    machine.store.dead[place]["state"] = "replaying"
    machine.store.documents[_KEY].update(status="SKIPPED", skip_reason="discarded: not ours")
    before = _calls(machine)
    machine.publish("chat_messages", message(101, 1), replay_of=place)
    await machine.go_on(60)
    assert _calls(machine) - before == 3
    assert machine.store.parked == {}
    assert _states(machine)[place] == "replayed"
