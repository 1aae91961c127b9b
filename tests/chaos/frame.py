"""A project of its own for each disturbance: started, watched from outside, ended; its figures in one line.

What kills Kafka, MongoDB or Redis, or looks into their files, has its own; the others may be given some.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from tests.chaos.processes import Processes
from tests.integration.whole.running import Control

from chatferry.operator.demo import bootstrap, limits_of
from chatferry.operator.folder import Folder, Project
from chatferry.operator.launch import SERVICES, Launch, SimulatedPortal, launch
from chatferry.operator.processes import stop
from chatferry.operator.runs import UNDER_WAY, Options, Store
from chatferry.stack import Addresses, LocalStack
from chatferry.stack.addresses import VARIABLES, addresses_from_environment

Json = dict[str, Any]
_LOOK_S = 0.1
_NOISE = re.compile(r"connect to node|update metadata|Failed fetch|Coordinator Request|server process|application")
_PARTS = ("kafka", "mongodb", "redis")


@dataclass(frozen=True, slots=True)
class Site:
    """A project to start: a portal made from the seed, or of `data`; `settings` for every service."""

    name: str
    seed: int
    chats: int = 0
    messages: int = 0
    users: int = 20
    data: Path | None = None
    bucket: str = "off"
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passed:
    """What a disturbance has to show: printed, and written down."""

    name: str
    seed: int
    figures: Mapping[str, object]

    def line(self) -> str:
        """`PASS kill-anywhere seed=1 kills=8 messages=2000`."""
        return " ".join([f"PASS {self.name} seed={self.seed}", *[f"{k}={v}" for k, v in self.figures.items()]])


def slowed(page: int) -> dict[str, str]:
    """Settings under which a run of few messages lasts: small requests, few chats at once; leases that end soon."""
    return {
        "CHATFERRY_BATCH_COMMANDS": "6",
        "CHATFERRY_PAGE_SIZE": str(page),
        "CHATFERRY_OPEN_WALKS": "6",
        "CHATFERRY_LEASE_SECONDS": "4",
        "CHATFERRY_VERIFY_LEASE_SECONDS": "4",
    }


@dataclass(slots=True)
class Chaos:
    """A running project. `random` is seeded: it decides what is done, and to whom."""

    root: Path
    folder: Folder
    project: Project
    processes: Processes
    random: Random
    mongo: MongoClient[Json]

    @property
    def database(self) -> Any:
        """The project's database."""
        return self.mongo[self.project.database]

    @property
    def target(self) -> Any:
        """The target's own database."""
        return self.mongo[f"chatferry_chat_{self.project.name.replace('-', '_')}"]

    @property
    def control(self) -> Control:
        """The portal's control interface; of its last start."""
        said = (self.folder.logs / "portal.log").read_text(encoding="utf-8").splitlines()
        return Control(json.loads(next(line for line in reversed(said) if line.startswith('{"http"')))["control"])

    def ask(self, family: str, options: Options | None = None) -> str:
        """Ask for a run; its id."""

        async def ask() -> str:
            store = Store(self.project)
            try:
                return await store.ask(family, options or Options())
            finally:
                store.close()

        return asyncio.run(ask())

    def run(self, run: str) -> Json:
        """The run's document; empty while MongoDB is away."""
        found: Json = self.seen(lambda: self.database.runs.find_one({"_id": run}) or {}, {})
        return found

    def under_way(self, run: str) -> bool:
        """Whether it goes on, as far as can be seen."""
        return self.run(run).get("state", "running") in UNDER_WAY

    def finish(self, run: str, seconds: float) -> Json:
        """The run's document once it has ended."""
        self.until(lambda: not self.under_way(run), f"run {run} ends", seconds)
        return self.run(run)

    def migrate(self, family: str, seconds: float = 60, options: Options | None = None) -> Json:
        """Ask for a run and wait for its end."""
        return self.finish(self.ask(family, options), seconds)

    def in_mid_run(self, options: Options | None = None) -> str:
        """A run of the chats, once the first messages have arrived; the users are there. Its id."""
        assert self.migrate("users")["state"] == "verified", self.story()
        run = self.ask("chats", options)
        self.until(lambda: self.imported() > 0, "the first messages arrive", 90)
        return run

    def seen(self, look: Callable[[], Any], otherwise: Any) -> Any:
        """What a look at MongoDB finds, or `otherwise` while it is away."""
        try:
            return look()
        except PyMongoError:
            return otherwise

    def imported(self) -> int:
        """Messages at the target, counted one by one: the quick count is wrong after a kill. -1: cannot be seen."""
        return int(self.seen(lambda: self.target.messages.count_documents({}, hint="_id_"), -1))

    def pages(self) -> int:
        """Pages read from the portal. -1: cannot be seen."""
        return int(self.seen(lambda: self.database.page_log.count_documents({}, hint="_id_"), -1))

    def wrong(self, service: str) -> dict[str, str]:
        """What /readyz of a service names."""
        try:
            url = (self.folder.addresses / f"{service}.url").read_text(encoding="utf-8").strip()
            return dict(httpx.get(f"{url}/readyz", timeout=5).json()["wrong"])
        except (OSError, ValueError, httpx.HTTPError) as failure:
            return {"service": f"it does not answer ({type(failure).__name__})"}

    def until(self, condition: Callable[[], object], what: str, seconds: float = 60) -> float:
        """Poll until it is true; the seconds that took. Fails with what was waited for, and what the logs say."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > seconds:
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{self.story()}")
            if (failed := self.processes.failed()) is not None:
                raise AssertionError(f"the supervisor gave up: {failed}\n{self.story()}")
            time.sleep(_LOOK_S)
        return time.monotonic() - began

    def story(self) -> str:
        """For a failure: runs, health, the last of what each said."""
        runs = self.seen(lambda: list(self.database.runs.find({}, {"preflight": 0})), "not to be seen")
        lines = [f"runs: {runs}", f"pages: {self.pages()}, imported: {self.imported()}", *self._health()]
        for file in self.folder.logs.iterdir():
            said = [line for line in file.read_text(errors="replace").splitlines() if _NOISE.search(line) is None]
            lines += [f"--- {file.name}", *said[-8:]]
        return "\n".join(lines)

    def _health(self) -> list[str]:
        return [f"{name}: {self.wrong(name)}" for name in SERVICES]


@contextmanager
def chaos_project(root: Path, site: Site, *, own_stack: bool = False) -> Iterator[Chaos]:
    """Everything started and ready, and ended afterwards. `own_stack`: nobody else has these servers, and the project's
    supervisor keeps them running."""
    with contextlib.ExitStack() as ending:
        if own_stack:
            ending.enter_context(no_given_parts())
        addresses = ending.enter_context(chaos_stack(root))
        yield ending.enter_context(project_on(root, addresses, site, root if own_stack else None))


@contextmanager
def chaos_stack(root: Path) -> Iterator[Addresses]:
    """Kafka, MongoDB and Redis that the environment names, else some without data that end afterwards."""
    given = addresses_from_environment(os.environ)
    if given.kafka and given.mongodb and given.redis:
        yield Addresses(given.kafka, given.mongodb, given.redis)
        return
    with no_given_parts():
        stack = LocalStack(root, announce=quiet)
        stack.down()
        forget(root)
        try:
            yield stack.up()
        finally:
            stack.down()
            forget(root)


@contextmanager
def project_on(root: Path, addresses: Addresses, site: Site, stack_root: Path | None = None) -> Iterator[Chaos]:
    """The services of one project on a stack that goes on without them, unless it is the one of `stack_root`."""
    folder = Folder(root)
    with folder.take("a chaos test") as lock:
        # On given parts there may be what an earlier one has left.
        name = f"chaos-{site.name}-{secrets.token_hex(3)}"
        asyncio.run(bootstrap(addresses, name))
        portal = SimulatedPortal(site.data, site.seed, site.users, site.chats, site.messages, site.bucket)
        settings = {**limits_of(site.bucket), **site.settings}
        project = launch(folder, Launch(name, addresses, portal, settings, stack_root), lock, quiet)
    processes = Processes(folder, root)
    try:
        # Read as the services read it: what only this client saw would not be so yet.
        with MongoClient[Json](
            addresses.mongodb, serverSelectionTimeoutMS=2_000, tz_aware=True, readConcernLevel="majority"
        ) as mongo:
            yield Chaos(root, folder, project, processes, Random(site.seed), mongo)
    finally:
        processes.thaw()
        stop(folder)


@contextmanager
def no_given_parts() -> Iterator[None]:
    """Parts that the environment names belong to somebody: they must not be killed."""
    given = {name: os.environ.pop(name) for name in VARIABLES.values() if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(given)


def forget(root: Path) -> None:
    """Remove the data of a stack that is down."""
    for part in _PARTS:
        shutil.rmtree(root / "stack" / part, ignore_errors=True)


def quiet(_: str) -> None:
    """Say nothing of what is started."""
    return
