"""The command line: options to a platform, one line of JSON when it answers, until SIGTERM or SIGINT."""

import asyncio
import gc
import signal
import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer
import uvloop

from chatferry.simulators.max.generator import Size
from chatferry.simulators.max.server import serve
from chatferry.simulators.max.settings import Serve, Settings, changed, from_options, names


def max_command(
    seed: Annotated[int, typer.Option(help="the same seed makes the same chats and the same changes")] = 1,
    chats: Annotated[int, typer.Option(help="chats, dialogs included")] = 100,
    largest: Annotated[int, typer.Option(help="members of the largest chat")] = 5000,
    dialogs: Annotated[float, typer.Option(help="share of dialogs, 0 to 1")] = 0.05,
    channels: Annotated[float, typer.Option(help="share of channels, 0 to 1")] = 0.1,
    not_admin: Annotated[float, typer.Option(help="share of groups without the bot's admin right, 0 to 1")] = 0.0,
    removed: Annotated[float, typer.Option(help="share of chats that the bot was removed from, 0 to 1")] = 0.0,
    changes_per_minute: Annotated[float, typer.Option(help="share of the chats that change each minute")] = 0.01,
    speed: Annotated[float, typer.Option(help="seconds of the platform's clock per real second")] = 1.0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help=f"SETTING=VALUE; settings: {names()}; may be repeated")
    ] = None,
    paused: Annotated[bool, typer.Option(help="nothing changes by itself until the script is resumed")] = False,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="HTTP port, 0: a free one")] = 0,
    control_port: Annotated[int, typer.Option(help="port of the control interface, 0: a free one")] = 0,
    token_file: Annotated[Path | None, typer.Option(help="the bot's token: read if it is there, else written")] = None,
    webhook_ca: Annotated[Path | None, typer.Option(help="authority that webhooks' certificates may be of")] = None,
) -> None:
    """Serve a MAX platform until SIGTERM; one line of JSON on stdout says where, as soon as it answers."""
    try:
        size = Size(seed, chats, largest, dialogs, channels, not_admin, removed)
        named = {"speed": speed, "script": {"changes_per_minute": changes_per_minute}}
        settings = changed(changed(Settings(), named), from_options(setting or []))
        token = token_file.read_text(encoding="utf-8").strip() if token_file and token_file.is_file() else None
        where = Serve(host, port, control_port, token, token_file, webhook_ca)
        uvloop.run(_run(size, settings, where, paused))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{_sentence(error)}\n")
        raise typer.Exit(2) from None


async def _run(size: Size, settings: Settings, where: Serve, paused: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(size, settings, where) as running:
        if paused:
            running.world.script.pause()
        gc.collect()
        gc.freeze()
        ready = {"http": running.http, "control": running.control, "token_file": str(running.token_file)}
        sys.stdout.write(orjson.dumps(ready).decode() + "\n")
        sys.stdout.flush()
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, running.failed}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()


def _sentence(error: ValueError | OSError) -> str:
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def main() -> None:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(max_command)
    app()
