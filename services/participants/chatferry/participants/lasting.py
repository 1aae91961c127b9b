"""Work that goes on beside other work: an outage ends one kind of it for a while, and none of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from chatferry.common.errors import OutageError
from chatferry.common.service import Context
from chatferry.common.telemetry.logs import get_logger

log = get_logger(__name__)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 3.0
_CALM_S = 5.0
# Of a MongoDB that takes connections and answers nothing. What went on for longer had the part meanwhile.
_LONGEST_TRY_S = 150.0
Kind = Callable[[], Awaitable[None]]


async def side_by_side(context: Context, works: Sequence[tuple[str, Kind]]) -> None:
    """Run them all until `stopping` is set; each that an OutageError ends is begun anew. Raises any other error."""
    tasks = [asyncio.create_task(_outlasting(context, work), name=name) for name, work in works]
    stopped = asyncio.create_task(_until(context.stopping), name="stop")
    running = {stopped, *tasks}
    try:
        while not stopped.done():
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        # What is under way is finished by whoever looks at `stopping`; the others only wait for their next turn.
        await asyncio.wait(running | {stopped}, timeout=_LONGEST_WAIT_S if context.stopping.is_set() else 0)
        for task in (stopped, *tasks):
            task.cancel()
        await asyncio.gather(stopped, *tasks, return_exceptions=True)


@asynccontextmanager
async def either(one: asyncio.Event, other: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """An event that is set once one of the two is."""
    ends = asyncio.Event()
    waiting = [asyncio.create_task(_pass_on(event, ends), name="end of work") for event in (one, other)]
    try:
        yield ends
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _pass_on(event: asyncio.Event, ends: asyncio.Event) -> None:
    await event.wait()
    ends.set()


async def _until(stopping: asyncio.Event) -> None:
    await stopping.wait()


async def _outlasting(context: Context, work: Kind) -> None:
    wait_s, calm, loop = _FIRST_WAIT_S, dict[str, tuple[float, asyncio.TimerHandle]](), asyncio.get_running_loop()
    while not context.stopping.is_set():
        begun = loop.time()
        try:
            await work()
        except OutageError as away:
            try_s = 0.0
            if away.part in calm:
                longest_s, over = calm.pop(away.part)
                over.cancel()
                took_s = loop.time() - begun
                try_s = max(longest_s, took_s) if took_s <= _LONGEST_TRY_S else 0.0
            if away.part not in context.health.outages:
                log.warning("outage", part=away.part)
            context.health.outage(away.part, away.sentence)
            with suppress(TimeoutError):
                await asyncio.wait_for(context.stopping.wait(), wait_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            # A try that fails too shall find the part still said to be away.
            calm[away.part] = try_s, loop.call_later(try_s + _CALM_S, context.reached, away.part)
        else:
            return
