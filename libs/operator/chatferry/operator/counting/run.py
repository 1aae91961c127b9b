"""The demo from its first process to the verdict."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.text import Text

from chatferry.common.errors import FatalError
from chatferry.operator.counting.following import Follower
from chatferry.operator.counting.judging import Verdict, differences, judge
from chatferry.operator.counting.launching import Running, Stage, Wanted, launch_participants
from chatferry.operator.counting.options import Options, Pace, paced
from chatferry.operator.counting.page import Page, serve_page
from chatferry.operator.counting.picture import Phase, Picture
from chatferry.operator.counting.platform import Control, open_control
from chatferry.operator.counting.readers import Record, open_api, read_on
from chatferry.operator.counting.terminal import Screen, summary
from chatferry.operator.demo import bootstrap, end_demo, fresh_stack, project_name
from chatferry.operator.folder import Folder, read_json
from chatferry.operator.kept import take_for_demo
from chatferry.operator.processes import ended_by_signals
from chatferry.stack.addresses import addresses_from_environment

_SUBSCRIBED_WITHIN_S = 60.0
_LAST_LOOK_S = 1.5
_DIFFERENCES_SHOWN = 5
_SECOND_MS = 1_000.0
_FASTEST_LOOK_S, _LOOKED_AT_PER_S = 0.25, 4_000
_LEARNING_LOOK_S, _COUNTED_PER_S = 1.0, 1_000


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a demo is shown. `as_json`: the verdict goes to stdout, and nothing else does."""

    console: Console
    as_json: bool
    keep: bool


def run_participants(folder: Folder, options: Options, outputs: Outputs) -> bool:
    """True when every count was right after the quiet and no limit was exceeded. Ends what it has started."""
    pace = paced(options)
    began = time.monotonic()

    def announce(line: str) -> None:
        outputs.console.print(Text(f"{time.monotonic() - began:5.1f} s  {line}", "dim"), soft_wrap=True)

    with ended_by_signals():
        lock = take_for_demo(folder)
        addresses, stack_root = fresh_stack(folder, announce)
        try:
            name = project_name(os.environ)
            asyncio.run(bootstrap(addresses, name))
            shared = addresses_from_environment(os.environ).redis is not None
            stage = Stage(name, addresses, stack_root, shared, folder.secrets / "max.links")
            running = launch_participants(folder, stage, Wanted(options, pace), lock, announce)
            lock.close()
            verdict, different = asyncio.run(_watched(folder, running, Wanted(options, pace), outputs))
        except BaseException:
            end_demo(folder, stack_root)
            raise
        _tell(verdict, different, outputs)
        if outputs.keep:
            _tell_what_stays(folder, running, outputs.console)
        else:
            end_demo(folder, stack_root)
    return not verdict.wrong


async def _watched(folder: Folder, running: Running, wanted: Wanted, outputs: Outputs) -> tuple[Verdict, list[str]]:
    page = Page()
    with serve_page(page) as url:
        outputs.console.print(f"watch it in a browser: [bold]{url}[/]", highlight=False, soft_wrap=True)
        async with open_control(running.control) as control, open_api(running.replicas, running.key) as api:
            record = Record(await _offset_ms(control))
            follower = Follower(control, api, record, wanted.options)
            with Screen(outputs.console) as screen:
                demo = Demo(folder, follower, wanted.pace, screen, page)
                verdict, different = await demo.run()
            if page.watched:
                await asyncio.sleep(_LAST_LOOK_S)
    return verdict, different


async def _offset_ms(control: Control) -> float:
    """What MAX's clock is ahead of ours, from the quickest of some questions."""
    found = []
    for _ in range(5):
        begun = time.time()
        now_ms, _history = await control.history(int(time.time() * _SECOND_MS))
        ended = time.time()
        found.append((ended - begun, now_ms - (begun + ended) / 2 * _SECOND_MS))
    return min(found)[1]


@dataclass(slots=True)
class Demo:
    """Learning, changing, quiet, the end."""

    folder: Folder
    follower: Follower
    pace: Pace
    screen: Screen
    page: Page

    async def run(self) -> tuple[Verdict, list[str]]:
        """The verdict, and what was served otherwise than it is. Raises FatalError when something gave up."""
        options, control = self.follower.options, self.follower.control
        if options.events == "on":
            await self._until_subscribed()
            await control.announce()
        await self._learn()
        async with _beside(read_on(self.follower.api, self.follower.record)):
            await control.resume()
            await self._phase("changing", options.seconds - self.pace.quiet_s)
            await control.pause()
            await self._phase("quiet", self.pace.quiet_s)
        different = await self._differences()
        await self.follower.look()
        # What arrived last is judged by a truth that is known until then.
        verdict = judge(different, self.follower.record.measured(), await control.calls(), await control.moves())
        self._show(replace(self._picture("done", 1.0, None), verdict=verdict.as_json(), wrong=tuple(verdict.wrong)))
        return verdict, different

    async def _until_subscribed(self) -> None:
        deadline = time.monotonic() + _SUBSCRIBED_WITHIN_S
        while not await self.follower.control.subscribed():
            self._check()
            if time.monotonic() > deadline:
                raise FatalError("demo.late", f"no replica has subscribed to MAX within {_SUBSCRIBED_WITHIN_S:.0f} s")
            await asyncio.sleep(_FASTEST_LOOK_S)

    async def _learn(self) -> None:
        """Until every replica has a count of MAX for every chat that the bot is in."""
        follower, chats = self.follower, self.follower.options.chats
        deadline = time.monotonic() + self.pace.learning_s
        follower.name(await follower.control.chats())
        while True:
            self._check()
            wanted = (await follower.control.counts()).keys()
            known = [await follower.api.everything(replica) for replica in follower.api.replicas]
            counted = [{one.max_chat for one in seen if one.updated_ms and one.state == "fresh"} for seen in known]
            follower.counted = min(len(wanted & one) for one in counted)
            follower.own = {one.max_chat: one.chat for one in known[0] if one.max_chat is not None}
            await follower.look()
            self._show(self._picture("learning", follower.counted / max(1, len(wanted)), None))
            if follower.counted == len(wanted):
                return
            if time.monotonic() > deadline:
                raise FatalError(
                    "demo.late",
                    f"{follower.counted} of {len(wanted)} chats were counted within {self.pace.learning_s:.0f} s",
                )
            await asyncio.sleep(max(_LEARNING_LOOK_S, chats / _COUNTED_PER_S))

    async def _phase(self, phase: Phase, seconds: float) -> None:
        every_s = max(_FASTEST_LOOK_S, self.follower.options.chats / _LOOKED_AT_PER_S)
        began = time.monotonic()
        end = began + seconds
        quiet_s = self.pace.quiet_s if phase == "changing" else 0
        while (now := time.monotonic()) < end:
            self._check()
            await self.follower.look()
            self._show(self._picture(phase, (now - began) / seconds, end - now + quiet_s))
            await asyncio.sleep(max(0.0, min(every_s, end - time.monotonic())))

    async def _differences(self) -> list[str]:
        api, counts = self.follower.api, await self.follower.control.counts()
        return differences(counts, [await api.everything(replica) for replica in api.replicas])

    def _picture(self, phase: Phase, done: float, left_s: float | None) -> Picture:
        return self.follower.picture(phase, done, left_s)

    def _show(self, picture: Picture) -> None:
        self.screen.show(picture)
        self.page.show(picture)

    def _check(self) -> None:
        """Raises FatalError when a process cannot be kept running."""
        state = read_json(self.folder.processes)
        failed = state.get("failed") if state else "the supervisor has ended; see supervisor.log"
        if failed:
            raise FatalError("process.failed", str(failed))


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Goes on while the block does, and is cancelled at its end; what ends it before is raised then."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _tell(verdict: Verdict, different: list[str], outputs: Outputs) -> None:
    for sentence in different[:_DIFFERENCES_SHOWN]:
        outputs.console.print(sentence, highlight=False, soft_wrap=True, markup=False)
    if len(different) > _DIFFERENCES_SHOWN:
        outputs.console.print(f"and {len(different) - _DIFFERENCES_SHOWN} more", highlight=False)
    if outputs.as_json:
        sys.stdout.write(json.dumps(verdict.as_json()) + "\n")
        sys.stdout.flush()
    else:
        summary(verdict, outputs.console)


def _tell_what_stays(folder: Folder, running: Running, console: Console) -> None:
    lines = [
        "everything stays up until `chatferry down`:",
        *(f"  replica  {url}" for url in running.replicas),
        f"  key      {running.key_file} (header X-Api-Key)",
        f"  MAX      {running.control}/truth",
        f"  logs     {folder.logs}",
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)
