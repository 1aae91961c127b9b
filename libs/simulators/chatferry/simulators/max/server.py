"""A platform on the network, inside the caller's event loop: the REST side, the control interface, the sender."""

import asyncio
import os
import secrets
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx

from chatferry.simulators.listener import listen
from chatferry.simulators.max.control import control_app
from chatferry.simulators.max.generator import Size, generate
from chatferry.simulators.max.rest import RestApp
from chatferry.simulators.max.settings import Serve, Settings
from chatferry.simulators.max.world import World, new_world


@dataclass(frozen=True, slots=True)
class Running:
    """A platform that answers. URLs have no slash at the end; `failed` is done when its background work has failed."""

    world: World
    http: str
    control: str
    token: str = field(repr=False)
    token_file: Path
    failed: "asyncio.Task[None]"


@asynccontextmanager
async def serve(
    size: Size | None = None, settings: Settings | None = None, where: Serve | None = None
) -> AsyncIterator[Running]:
    """Answers until the block is left; the script runs from the start. Raises OSError when a port is taken."""
    size, where = size or Size(), where or Serve()
    world = new_world(generate(size), settings or Settings(), size.seed)
    token = where.token or secrets.token_urlsafe(24)
    rest = RestApp(world, token, Random(where.fault_seed))  # noqa: S311 no secret is made of it
    async with AsyncExitStack() as stack:
        token_file = stack.enter_context(_token_file(where.token_file, token))
        client = await stack.enter_async_context(_client(where))
        http = await stack.enter_async_context(listen(rest, where.host, where.http_port))
        control = await stack.enter_async_context(listen(control_app(world), where.host, where.control_port))
        work = asyncio.create_task(_background(world, client))
        stack.push_async_callback(_ended, work)
        world.script.resume()
        yield Running(world, http.url, f"{control.url}/control", token, token_file, work)
        http.stop()
        control.stop()


async def _background(world: World, client: httpx.AsyncClient) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(world.timetable.run())
        group.create_task(world.webhooks.run(client))


async def _ended(work: "asyncio.Task[None]") -> None:
    """Raises what the work failed with, if it did."""
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


def _client(where: Serve) -> httpx.AsyncClient:
    """The sender's. Deadlines are set around each delivery."""
    trust = ssl.create_default_context(cafile=None if where.webhook_ca_file is None else str(where.webhook_ca_file))
    return httpx.AsyncClient(verify=trust, timeout=None, trust_env=False)  # noqa: S113


@contextmanager
def _token_file(given: Path | None, token: str) -> Iterator[Path]:
    """Holds the token and nothing else, mode 600."""
    with tempfile.TemporaryDirectory(prefix="max-") as name:
        path = given or Path(name) / "token"
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(token)
        yield path
