"""Bringing one part from any state (never started, killed, half started) to healthy."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from chatferry.stack import logs
from chatferry.stack.deadline import Deadline
from chatferry.stack.errors import EndedError, StackError, UnhealthyError
from chatferry.stack.part import Part
from chatferry.stack.process import find, free_port, is_free, listens, orphans, spawn, stop
from chatferry.stack.state import PartState

_ATTEMPTS = 3
_ORPHAN_ENDS_WITHIN_S = 10.0
_PORT_TAKEN = ("Address already in use", "address already in use", "Failed to bind")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part keeps its data and its log."""

    folder: Path
    log: Path

    @property
    def marker(self) -> str:
        """What the command line of this part's process contains."""
        return str(self.folder)


class Starter:
    """Starts parts; `remember` is called with each new state before anything else can happen to the process."""

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        remember: Callable[[Part, PartState], None],
        announce: Callable[[str], None],
        deadline: Callable[[float], Deadline],
    ) -> None:
        """`deadline` begins one for a process of this age in seconds; fetching and formatting come before its birth."""
        self._env = env
        self._remember = remember
        self._announce = announce
        self._deadline = deadline

    def ensure(self, part: Part, place: Place, state: PartState) -> PartState:
        """The part healthy: as it is, if it lives, else started on its data. Raises StackError, OSError.

        Safe to repeat. A process that was started here and did not become healthy is left to the caller to end.
        """
        living = find(state.process, place.marker)
        if living is not None and self._stays(part, place, living, state):
            return state
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._start(part, place, state)
            except EndedError:
                if not _port_was_taken(place):
                    raise
                self._announce(f"{part.name}: a port was taken in between, trying others")
                state = PartState()
        return self._start(part, place, state)

    def _stays(self, part: Part, place: Place, living: psutil.Process, state: PartState) -> bool:
        """Wait for a process that an earlier call started; False when it was just dying."""
        try:
            self._wait(part, place, living, state)
        except EndedError:
            return False
        return True

    def _start(self, part: Part, place: Place, last: PartState) -> PartState:
        process, state = self._spawn(part, place, PartState(_ports(part, last.ports)))
        self._wait(part, place, process, state)
        return state

    def _spawn(self, part: Part, place: Place, state: PartState) -> tuple[psutil.Process, PartState]:
        command = part.command(place.folder, state.ports)
        # One that was killed between a start and its word in the state left a process which holds the folder.
        stop(orphans(command[0], place.marker), _ORPHAN_ENDS_WITHIN_S)
        logs.rotate(place.log)
        self._announce(f"{part.name}: starting")
        identity = spawn(command, place.log, self._env)
        started = PartState(state.ports, identity)
        self._remember(part, started)
        return psutil.Process(identity.pid), started

    def _wait(self, part: Part, place: Place, process: psutil.Process, state: PartState) -> None:
        deadline = self._deadline(max(0.0, time.time() - process.create_time()))
        problem = "it does not listen on its port"
        address = part.address(state.ports)
        while True:
            if find(state.process, place.marker) is None:
                raise EndedError(f"{part.title} ended while it was starting; {_last_words(place)}")
            if listens(process, state.ports["client"]):
                try:
                    part.settle(address)
                    part.check(address)
                except UnhealthyError as error:
                    problem = str(error)
                else:
                    return
            if not deadline.wait_a_moment():
                raise StackError(
                    f"{part.title} was not ready after {deadline.seconds:.0f} s: {problem}; {_last_words(place)}"
                )


def _ports(part: Part, last: Mapping[str, int]) -> dict[str, int]:
    """The ports the part had last where they are free, so that addresses stay; else new ones, all different."""
    ports: dict[str, int] = {}
    for name in part.port_names:
        port = last.get(name)
        while port is None or port in ports.values() or not is_free(port):
            port = free_port()
        ports[name] = port
    return ports


def _port_was_taken(place: Place) -> bool:
    return any(words in logs.tail(place.log) for words in _PORT_TAKEN)


def _last_words(place: Place) -> str:
    words = logs.last_errors(place.log)
    return f"its log {place.log} says: {words}" if words else f"its log {place.log} is empty"
