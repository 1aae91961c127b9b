"""The stack as a whole: up, down, status, restart."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock

from chatferry.stack import logs
from chatferry.stack.addresses import (
    EXAMPLES,
    PART_NAMES,
    VARIABLES,
    Addresses,
    PartName,
    addresses_from_environment,
    without_secret,
)
from chatferry.stack.deadline import Deadline
from chatferry.stack.errors import GivenUpError, StackError, UnhealthyError
from chatferry.stack.kafka import Kafka
from chatferry.stack.lock import held
from chatferry.stack.mongodb import MongoDB
from chatferry.stack.part import Part
from chatferry.stack.process import find, stop
from chatferry.stack.redis import Redis
from chatferry.stack.starter import Place, Starter
from chatferry.stack.state import PartState, StateFile

_STOPS_WITHIN_S = 30.0
_LIVING_ANSWERS_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part as it is now. `address` has no password and is None before the first start; `detail` is a sentence."""

    name: PartName
    pid: int | None
    address: str | None
    healthy: bool
    detail: str


class LocalStack:
    """Kafka, MongoDB and Redis as child processes that outlive their starter, with data, logs and state under `root`.

    Synchronous; may be used by several processes and threads at once (a file lock puts them in a row). `announce` gets
    one line per step. A part whose address stands in `environment` (the process's own by default) is never started or
    stopped here, only checked. As a pytest fixture: `up()`, yield, and `down()` where the root is of the test alone.
    """

    def __init__(
        self, root: Path, *, announce: Callable[[str], None], environment: Mapping[str, str] | None = None
    ) -> None:
        """Touches nothing. Raises StackError for an address in the environment that is none."""
        env = dict(os.environ if environment is None else environment)
        self._folder = root.absolute() / "stack"
        self._given = addresses_from_environment(env)
        self._env = env | {"LC_ALL": "C.UTF-8"}  # without it a JVM cannot open paths beyond ASCII
        self._state = StateFile(self._folder / "state.json")
        self._state_lock = Lock()
        self._announce_lock = Lock()
        self._announce_to = announce
        bin_folder, cache_folder = root.absolute() / "bin", root.absolute() / "cache"
        parts: tuple[Part, ...] = (
            Kafka(self._env, bin_folder, cache_folder, self._announce),
            MongoDB(self._env, bin_folder),
            Redis(self._env, bin_folder),
        )
        self._parts: Mapping[PartName, Part] = {part.name: part for part in parts}

    def up(self, *, timeout_s: float = 120) -> Addresses:
        """Make every part healthy and return where they answer. Idempotent: what lives stays, what died is started
        again on its data, on its old ports if they are free. `timeout_s` is for each part from its start to its
        first answer (a first download of Kafka's jars comes before). Raises StackError, after ending what it started.
        """
        with self._alone(timeout_s):
            self._up(PART_NAMES, timeout_s)
            return self._addresses()

    def down(self, *, timeout_s: float = 30) -> None:
        """End the processes that this stack started, and no other; data stay. Idempotent. Raises StackError."""
        if not self._folder.exists():
            return
        with self._alone(timeout_s):
            self._stop(PART_NAMES, timeout_s)

    def restart(self, part: str, *, timeout_s: float = 120) -> Addresses:
        """Stop and start one part: `kafka`, `mongodb` or `redis`. Raises StackError, also for one that is not ours."""
        name = self._ours(part)
        with self._alone(timeout_s):
            self._stop((name,), _STOPS_WITHIN_S)
            self._up((name,), timeout_s)
            return self._addresses()

    def status(self) -> list[PartStatus]:
        """Every part as it is now, each asked for real; takes seconds at most and no lock. Raises StackError."""
        with ThreadPoolExecutor(len(PART_NAMES)) as threads:
            return list(threads.map(self._status, PART_NAMES))

    def gone(self) -> list[PartName]:
        """Parts that were started here and have died since. Cheap: looks at processes, asks nobody."""
        states = {name: self._state.read(name) for name in PART_NAMES if self._given.of(name) is None}
        return [
            name
            for name, state in states.items()
            if state.process is not None and find(state.process, self._place(name).marker) is None
        ]

    def pids(self) -> dict[PartName, int | None]:
        """Processes of the parts that are run here, None for one that does not live. As cheap as `gone`."""
        ours = [name for name in PART_NAMES if self._given.of(name) is None]
        living = {name: find(self._state.read(name).process, self._place(name).marker) for name in ours}
        return {name: process.pid if process else None for name, process in living.items()}

    # --- starting

    def _up(self, names: tuple[PartName, ...], timeout_s: float) -> None:
        """Start in parallel; when one fails the others are given up, and what is new is ended."""
        before = {name: self._state.read(name) for name in names}
        given_up = Event()
        starter = Starter(
            self._env,
            remember=self._remember,
            announce=self._announce,
            deadline=lambda age_s: Deadline(_patience_s(timeout_s, age_s), cancelled=given_up.is_set),
        )
        try:
            with ThreadPoolExecutor(len(names)) as threads:
                starts = [threads.submit(self._ensure, name, starter) for name in names]
                try:
                    wait(starts, return_when=FIRST_EXCEPTION)
                finally:
                    given_up.set()
            _raise_first([error for start in starts if (error := start.exception())])
        except BaseException:
            self._end_what_is_new(before)
            raise

    def _ensure(self, name: PartName, starter: Starter) -> None:
        part, begun = self._parts[name], time.monotonic()
        given = self._given.of(name)
        try:
            if given is not None:
                part.check(given)
                self._announce(f"{name}: answers at {without_secret(given)}, as {VARIABLES[name]} says")
                return
            state = starter.ensure(part, self._place(name), self._state.read(name))
        except UnhealthyError as error:
            raise StackError(
                f"{part.title} at the address in {VARIABLES[name]} cannot be used: {error}. "
                "Correct the address, or unset it to let the local stack run this part."
            ) from error
        except OSError as error:
            raise StackError(f"{part.title} cannot be started: {error.strerror}: {error.filename}.") from error
        self._announce(f"{name}: ready at {part.address(state.ports)} after {time.monotonic() - begun:.1f} s")

    def _remember(self, part: Part, state: PartState) -> None:
        with self._state_lock:
            self._state.write(part.name, state)

    # --- stopping

    def _end_what_is_new(self, before: Mapping[PartName, PartState]) -> None:
        new = tuple(name for name, state in before.items() if self._state.read(name).process != state.process)
        self._stop(new, _STOPS_WITHIN_S)

    def _stop(self, names: tuple[PartName, ...], timeout_s: float) -> None:
        states = {name: self._state.read(name) for name in names}
        living = {name: find(state.process, self._place(name).marker) for name, state in states.items()}
        killed = stop([process for process in living.values() if process], timeout_s)
        for name, state in states.items():
            self._remember(self._parts[name], replace(state, process=None))
            if process := living[name]:
                how = f"did not end within {timeout_s:.0f} s and was killed" if process.pid in killed else "stopped"
                self._announce(f"{name}: {how}")

    # --- looking

    def _status(self, name: PartName) -> PartStatus:
        part, given = self._parts[name], self._given.of(name)
        if given is not None:
            problem = _problem(part, given)
            detail = f"Given by {VARIABLES[name]}, not run by this stack" + (f"; {problem}." if problem else ".")
            return PartStatus(name, None, without_secret(given), problem is None, detail)
        state, place = self._state.read(name), self._place(name)
        address = part.address(state.ports) if state.ports else None
        process = find(state.process, place.marker)
        if address is None or process is None:
            return PartStatus(name, None, address, False, _why_not_running(name, part, state, place))
        problem = _problem(part, address)
        words = logs.last_errors(place.log) if problem else ""
        detail = f"{part.title} runs, but {problem}" if problem else f"{part.title} answers"
        return PartStatus(
            name, process.pid, address, problem is None, f"{detail}; its log says: {words}" if words else f"{detail}."
        )

    def _addresses(self) -> Addresses:
        return Addresses(**{name: self._address(name) for name in PART_NAMES})

    def _address(self, name: PartName) -> str:
        if given := self._given.of(name):
            return given
        ports = self._state.read(name).ports
        if not ports:
            raise StackError(
                f"{self._parts[name].title} was never started in {self._folder}: bring the stack up first."
            )
        return self._parts[name].address(ports)

    def _ours(self, part: str) -> PartName:
        for name in PART_NAMES:
            if name == part:
                if self._given.of(name) is not None:
                    raise StackError(f"{part} is given by {VARIABLES[name]}: who runs it must restart it.")
                return name
        raise StackError(f"There is no part {part!r}: the parts are {', '.join(PART_NAMES)}.")

    # --- the folder

    def _place(self, name: PartName) -> Place:
        return Place(self._folder / name, self._folder / f"{name}.log")

    @contextmanager
    def _alone(self, timeout_s: float) -> Iterator[None]:
        try:
            with held(self._folder / "lock", Deadline(timeout_s), self._announce):
                yield
        except OSError as error:
            raise StackError(
                f"The stack cannot use its folder {self._folder}: {error.strerror}: {error.filename}."
            ) from error

    def _announce(self, line: str) -> None:
        with self._announce_lock:
            self._announce_to(line)


def _patience_s(timeout_s: float, age_s: float) -> float:
    """How long to wait for a process of that age: one that has lived long either answers soon or is broken."""
    return min(timeout_s, max(timeout_s - age_s, _LIVING_ANSWERS_WITHIN_S))


def _problem(part: Part, address: str) -> str | None:
    try:
        part.check(address)
    except UnhealthyError as error:
        return str(error)
    return None


def _why_not_running(name: PartName, part: Part, state: PartState, place: Place) -> str:
    if not state.ports:
        return (
            f"{part.title} was never started here: start it (`chatferry stack up`), or with Docker (docker compose up),"
            f" or give its address in the environment ({VARIABLES[name]}={EXAMPLES[name]})."
        )
    if state.process is None:
        return f"{part.title} is stopped."
    words = logs.last_errors(place.log)
    return f"{part.title} has died" + (f"; its log says: {words}" if words else ", without a word in its log.")


def _raise_first(errors: list[BaseException]) -> None:
    """Raise the error that made the others give up; several of them as one, a line each."""
    causes = [error for error in errors if not isinstance(error, GivenUpError)] or errors
    if len(causes) > 1 and all(isinstance(error, StackError) for error in causes):
        raise StackError("\n".join(str(error) for error in causes)) from causes[0]
    if causes:
        raise causes[0]
