"""The command line: options to a portal, one line of JSON when it answers, until SIGTERM or SIGINT."""

import asyncio
import gc
import signal
import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import orjson
import typer
import uvloop

from chatferry.simulators.bitrix24.errors import PortalDataError
from chatferry.simulators.bitrix24.generator import GeneratorSettings, generate
from chatferry.simulators.bitrix24.loader import load_folder
from chatferry.simulators.bitrix24.model import ALL_SCOPES, Portal
from chatferry.simulators.bitrix24.server import Running, new_webhook, serve
from chatferry.simulators.bitrix24.settings import PortalSettings, Quirks, RateBucket, ServeSettings
from chatferry.simulators.bitrix24.writer import OddData

OWNER = 0
"""Stands for the owner account where a user id is asked for."""
ODD_KINDS = tuple(item.name for item in fields(OddData))


def serve_command(
    data: Annotated[Path | None, typer.Option(help="folder with users.jsonl, chats.jsonl, messages.jsonl")] = None,
    seed: Annotated[int | None, typer.Option(help="generate a portal from this seed instead")] = None,
    users: Annotated[int, typer.Option(help="accounts of a generated portal")] = 60,
    chats: Annotated[int, typer.Option(help="chats of a generated portal")] = 40,
    messages: Annotated[int, typer.Option(help="messages of a generated portal")] = 2000,
    odd: Annotated[
        list[str] | None,
        typer.Option(help=f"odd messages as KIND=COUNT; kinds: {', '.join(ODD_KINDS)}; may be repeated"),
    ] = None,
    hidden_history: Annotated[float, typer.Option(help="share of chats with hidden history, 0 to 1")] = 0.0,
    hidden_recent: Annotated[float, typer.Option(help="share of chats hidden from recent lists, 0 to 1")] = 0.0,
    unread: Annotated[float, typer.Option(help="share of chats with unread messages, 0 to 1")] = 0.0,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    public_host: Annotated[str | None, typer.Option(help="name for URLs and the certificate, if not --host")] = None,
    port: Annotated[int, typer.Option(help="HTTP port, 0: a free one, -1: no plain HTTP")] = 0,
    https_port: Annotated[int, typer.Option(help="HTTPS port, 0: a free one, -1: no HTTPS")] = 0,
    control_port: Annotated[int, typer.Option(help="port of the control interface, 0: a free one, -1: none")] = 0,
    bucket: Annotated[str, typer.Option(help="rate limit as CAPACITY:DRAIN_PER_S (50:2), or off")] = "off",
    operating_limit: Annotated[str, typer.Option(help="seconds per webhook and method in ten minutes, or off")] = "off",
    operating_cost: Annotated[
        list[str] | None, typer.Option(help="simulated seconds of a call as PATTERN=SECONDS; may be repeated")
    ] = None,
    speed: Annotated[float, typer.Option(help="simulated seconds per real second")] = 1.0,
    auth_status: Annotated[int, typer.Option(help="HTTP status of wrong credentials, 401 or 403")] = 401,
    https_required: Annotated[bool, typer.Option(help="refuse plain HTTP with INVALID_REQUEST")] = False,
    message_list: Annotated[bool, typer.Option(help="offer im.chat.message.list")] = False,
    webhook: Annotated[
        list[int] | None, typer.Option(help="user id to make a webhook for, 0: the owner account; may be repeated")
    ] = None,
    secret: Annotated[str | None, typer.Option(help="webhook secret, the same for all; none: drawn")] = None,
    scopes: Annotated[str, typer.Option(help="scopes of the webhooks, comma-separated")] = ",".join(ALL_SCOPES),
    state_dir: Annotated[Path | None, typer.Option(help="folder for the CA and webhook URL files")] = None,
) -> None:
    """Serve a portal until SIGTERM; one line of JSON on stdout says where, as soon as it answers."""
    try:
        settings = PortalSettings(
            bucket=read_bucket(bucket),
            operating_limit_s=None if operating_limit == "off" else _number(operating_limit, "--operating-limit"),
            operating_cost_s=dict(read_cost(item) for item in operating_cost or ()),
            clock_speed=_above_zero(speed, "--speed"),
            auth_status=_one_of(auth_status, (401, 403), "--auth-status"),
            https_required=https_required,
            quirks=Quirks(planning_message_list=message_list),
        )
        size = GeneratorSettings(
            seed=seed or 0,
            users=users,
            chats=chats,
            messages=messages,
            hidden_history_share=hidden_history,
            hidden_recent_share=hidden_recent,
            unread_share=unread,
            odd=read_odd(odd or ()),
        )
        portal = make_portal(data, None if seed is None else size)
        for user_id in webhook or [OWNER]:
            new_webhook(portal, user_id or max(portal.users), secret, tuple(scopes.split(",")))
        where = ServeSettings(
            host, _port(port), _port(https_port), _port(control_port), state_dir, public_host=public_host
        )
        uvloop.run(run(portal, settings, where))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{_sentence(error)}\n")
        raise typer.Exit(2) from None


def make_portal(data: Path | None, size: GeneratorSettings | None) -> Portal:
    """From a folder or from a seed; raises PortalDataError unless exactly one of them is given."""
    if data is not None and size is None:
        return load_folder(data)
    if size is not None and data is None:
        return generate(size)
    raise PortalDataError("say which portal: either --data DIR or --seed N")


async def run(portal: Portal, settings: PortalSettings, where: ServeSettings) -> None:
    """Serves until SIGTERM or SIGINT. Raises OSError when a port is taken."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(portal, settings, where) as running:
        gc.collect()
        gc.freeze()
        sys.stdout.write(orjson.dumps(ready_line(running)).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()


def ready_line(running: Running) -> dict[str, object]:
    """Without secrets: webhook URLs stand in files."""
    users = dict.fromkeys(webhook.user_id for webhook in running.portal.webhooks.values())
    return {
        "http": running.http,
        "https": running.https,
        "ca_file": str(running.ca_file),
        "control": running.control,
        "webhooks": [{"user_id": user, "url_file": str(running.write_url_file(user))} for user in users],
    }


def read_bucket(text: str) -> RateBucket | None:
    """`50:2` or `off`; raises PortalDataError for anything else."""
    if text == "off":
        return None
    capacity, _, drain = text.partition(":")
    return RateBucket(_number(capacity, "--bucket"), _number(drain, "--bucket"))


def read_cost(text: str) -> tuple[str, float]:
    """`im.*=0.5`; raises PortalDataError for anything else."""
    pattern, _, seconds = text.partition("=")
    return pattern, _number(seconds, "--operating-cost")


def read_odd(items: Iterable[str]) -> OddData:
    """`lone_surrogates=3`; raises PortalDataError for a kind that is none."""
    counts = {}
    for item in items:
        kind, _, count = item.partition("=")
        if kind not in ODD_KINDS:
            raise PortalDataError(f"--odd: {kind!r} is no kind of odd messages; kinds: {', '.join(ODD_KINDS)}")
        counts[kind] = int(_number(count, "--odd"))
    return OddData(**counts)


def _sentence(error: ValueError | OSError) -> str:
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def _above_zero(number: float, option: str) -> float:
    if number <= 0:
        raise PortalDataError(f"{option} must be above zero, not {number:g}")
    return number


def _one_of(number: int, allowed: tuple[int, ...], option: str) -> int:
    if number not in allowed:
        raise PortalDataError(f"{option} must be one of {', '.join(map(str, allowed))}, not {number}")
    return number


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise PortalDataError(f"{option}: {text!r} is not a number; see --help for the form") from None


def _port(number: int) -> int | None:
    return None if number < 0 else number


def _root() -> None:
    """A simulated Bitrix24 portal."""


def main() -> None:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_root)
    app.command("serve")(serve_command)
    app()
