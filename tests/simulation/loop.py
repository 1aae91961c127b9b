"""An event loop without an operating system: its time is a number, and one seed is one schedule.

Handles of one host run in the order in which they were made, as on any event loop. What is left to chance is what is
left to chance outside: which of the requests under way is answered next, and whether time passes first (`wire.py`).
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Host:
    """One process. A frozen one does nothing, and finds all that was due when it thaws; a dead one never does."""

    __slots__ = ("alive", "frozen", "name", "ready", "tasks")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive, self.frozen = True, False
        self.ready: deque[_Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []

    def __repr__(self) -> str:
        return self.name


class _Handle(asyncio.TimerHandle):
    """As little of a handle as asyncio asks for."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self._callback, self._args = callback, args
        self._context = copy_context() if context is None else context
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True


class Loop(asyncio.AbstractEventLoop):
    """`current`: the host whose code runs now, to which everything belongs that it starts."""

    def __init__(self) -> None:
        self.outside = Host("outside")
        self.current = self.outside
        self.hosts = [self.outside]
        self.wrong: list[BaseException] = []
        self._seconds = 0.0
        self._timers: list[tuple[float, int, Host, _Handle]] = []
        self._made = 0

    def time(self) -> float:
        return self._seconds

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        self.current.tasks.append(task)
        return task

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context)
        self.current.ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        return self.call_at(self._seconds + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context)
        self._made += 1
        heapq.heappush(self._timers, (when, self._made, self.current, handle))
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody awaited; it ends the schedule unless its process was killed."""
        error = context.get("exception")
        if self.current.alive and isinstance(error, BaseException):
            self.wrong.append(error)

    def start(self, host: Host, main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run this on a new host."""
        self.hosts.append(host)
        with self.on(host):
            return self.create_task(main)

    @contextmanager
    def on(self, host: Host) -> Iterator[None]:
        """What is started inside belongs to this host."""
        before, self.current = self.current, host
        try:
            yield
        finally:
            self.current = before

    def run_ready(self) -> None:
        """Let every host that may run do all that it can without an answer from outside."""
        moved = True
        while moved:
            moved = False
            for host in self.hosts:
                if host.ready and not host.frozen:
                    moved = True
                    self._run(host)

    def _run(self, host: Host) -> None:
        before, self.current = self.current, host
        ready = host.ready
        while ready:
            handle = ready.popleft()
            if not handle._cancelled:
                handle._context.run(handle._callback, *handle._args)
        self.current = before

    def advance(self, at_most_s: float = 1e9) -> bool:
        """Let time pass until the next moment that somebody waits for; False when nobody does (so soon)."""
        timers = self._timers
        while timers and (timers[0][3]._cancelled or not timers[0][2].alive):
            heapq.heappop(timers)
        if not timers or timers[0][0] > self._seconds + at_most_s:
            return False
        self._seconds = max(self._seconds, timers[0][0])
        self._fire()
        return True

    def pass_by(self, seconds: float) -> None:
        """Let this much time pass."""
        self._seconds += seconds
        self._fire()

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= self._seconds:
            _, _, host, handle = heapq.heappop(self._timers)
            if host.alive and not handle._cancelled:
                host.ready.append(handle)

    def kill(self, host: Host) -> None:
        """End a process at once. Its tasks unwind, but no port of a dead host does anything any more."""
        host.alive, host.frozen = False, False
        with self.on(host):
            while living := [task for task in host.tasks if not task.done()]:
                for task in living:
                    task.cancel()
                self._run(host)
        self.hosts.remove(host)


class LoopClock:
    """Port Clock on the loop's time."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return _EPOCH + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@contextmanager
def running(loop: Loop) -> Iterator[None]:
    """What asyncio calls the running loop is this one."""
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(before)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run this to its end. Time passes only while all of it waits, so that a busy machine changes nothing."""
    loop = Loop()  # type: ignore[abstract]
    with running(loop):
        task: asyncio.Task[T] = loop.create_task(main)
        loop.run_ready()
        while not task.done():
            if not loop.advance():
                raise AssertionError("it waits for what never comes")
            loop.run_ready()
    return task.result()
