"""Starting it all: the MAX platform and the replicas, under the supervisor that keeps every demo running."""

from __future__ import annotations

import asyncio
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from chatferry.operator.counting.options import Options, Pace
from chatferry.operator.counting.platform import open_control
from chatferry.operator.counting.portal import publish_portal
from chatferry.operator.folder import Folder, write_atomically
from chatferry.operator.launch import Announce, free_port, not_ready, supervise, wait_until
from chatferry.operator.supervisor import Service
from chatferry.stack import Addresses

_LARGEST = 5_000
_REPLICA = "participants-{}"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is. `shared_redis`: somebody else's, with other projects in it. `links_file`: which MAX chat a
    portal's chat is; the replicas start when it is there."""

    project: str
    addresses: Addresses
    stack_root: Path | None
    shared_redis: bool
    links_file: Path


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for, and what follows from it."""

    options: Options
    pace: Pace


@dataclass(frozen=True, slots=True)
class Running:
    """`control`: the platform's control interface. `replicas`: base URLs. `key_file` holds the readers' key."""

    control: str
    replicas: tuple[str, ...]
    key_file: Path

    @property
    def key(self) -> str:
        return self.key_file.read_text(encoding="utf-8").strip()


@dataclass(frozen=True, slots=True)
class Platform:
    """The MAX platform as a process of its own."""

    service: Service
    url: str
    control: str
    token_file: Path


def platform_of(folder: Folder, options: Options, pace: Pace) -> Platform:
    """Nothing changes by itself until its script is resumed. Hooks of loopback are taken, and what would take MAX a
    minute takes it a second."""
    port, control = free_port(), free_port()
    token_file = folder.secret("max.token", secrets.token_urlsafe(24))
    share = 60 / options.chats
    settings = {
        "script.changes_per_minute": pace.changes_per_s * share,
        "script.messages_per_minute": pace.messages_per_s * share,
        "script.admin": 0.02 if pace.unheard else 0.0,
        "script.bot": 0.02 if pace.unheard else 0.0,
        "delivery.https_only": "false",
        "delivery.retry_first_s": 1,
        "delivery.retry_factor": 1.5,
        "delivery.duplicate": 0.05,
        "delivery.reorder": 0.05,
        "delivery.hold_max_s": 1,
        "delivery.delay": 0.05,
        "delivery.delay_max_s": 1,
        "api.latency_s": 0.02,
        "api.jitter_s": 0.03,
    }
    argv = [sys.executable, "-m", "chatferry.simulators.max", "--seed", str(options.seed), "--paused"]
    argv += ["--chats", str(options.chats), "--largest", str(_LARGEST), "--dialogs", "0"]
    argv += ["--not-admin", str(pace.unheard / options.chats)]
    argv += ["--port", str(port), "--control-port", str(control), "--token-file", str(token_file)]
    argv += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    service = Service("max", tuple(argv), {}, str(folder.logs / "max.log"))
    return Platform(service, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{control}/control", token_file)


def launch_participants(folder: Folder, stage: Stage, wanted: Wanted, lock: IO[str], announce: Announce) -> Running:
    """Everything under a supervisor, each part ready. Raises FatalError with the reason; then call `stop`."""
    for old in folder.addresses.iterdir():
        old.unlink()
    stage.links_file.unlink(missing_ok=True)
    platform = platform_of(folder, wanted.options, wanted.pace)
    key_file = folder.secret("participants.key", secrets.token_urlsafe(24))
    environment = _environment(folder, stage, wanted, platform, key_file)
    # One that is started again comes back where readers and MAX know it.
    ports = [free_port() for _ in range(wanted.options.replicas)]
    environment["CHATFERRY_MAX_WEBHOOK_URL"] = f"http://127.0.0.1:{ports[0]}"
    names = [_REPLICA.format(number) for number in range(1, wanted.options.replicas + 1)]
    replicas = [
        _replica(folder, name, environment | {"CHATFERRY_HTTP_PORT": str(port)}, stage.links_file)
        for name, port in zip(names, ports, strict=True)
    ]
    supervisor = supervise(folder, stage.stack_root, [platform.service, *replicas], lock)
    wait_until(folder, supervisor, "the MAX platform", lambda: _silent(platform.control))
    announce("the MAX platform: answers")
    asyncio.run(_introduce(stage, wanted.options, platform.control))
    for name in names:
        wait_until(folder, supervisor, name, lambda name=name: not_ready(folder, name))  # type: ignore[misc]
        announce(f"{name}: ready")
    urls = [folder.service_url(name) for name in names]
    return Running(platform.control, tuple(url for url in urls if url is not None), key_file)


def _environment(folder: Folder, stage: Stage, wanted: Wanted, platform: Platform, key_file: Path) -> dict[str, str]:
    own = {
        "CHATFERRY_PROJECT": stage.project,
        "CHATFERRY_KAFKA": stage.addresses.kafka,
        "CHATFERRY_MONGODB": stage.addresses.mongodb,
        "CHATFERRY_REDIS": stage.addresses.redis,
        "CHATFERRY_MAX_URL": platform.url,
        "CHATFERRY_MAX_TOKEN_FILE": str(platform.token_file),
        "CHATFERRY_MAX_WEBHOOK_SECRET_FILE": str(folder.secret("max.webhook", secrets.token_urlsafe(24))),
        "CHATFERRY_MAX_EVENTS": "webhook" if wanted.options.events == "on" else "off",
        "CHATFERRY_API_KEYS_FILE": str(key_file),
        "PARTICIPANTS_REPLICAS_MAX": str(wanted.options.replicas),
        # One machine reads, draws, serves and judges: its calls come late by more than what is left below MAX's limit.
        "PARTICIPANTS_CALLS_PER_SECOND": "25",
        "PARTICIPANTS_UNTRUSTED_INTERVAL": str(wanted.pace.poll_s),
    }
    if wanted.options.events == "off":
        own["CHATFERRY_MAX_LINKS_FILE"] = str(stage.links_file)
        own["PARTICIPANTS_SAFETY_INTERVAL"] = str(wanted.pace.safety_s)
        own["PARTICIPANTS_UPDATE_INTERVAL"] = str(min(900, wanted.pace.safety_s))
    if stage.shared_redis:
        own["CHATFERRY_REDIS_PREFIX"] = f"{stage.project}:"
    return own


def _replica(folder: Folder, name: str, environment: dict[str, str], after: Path) -> Service:
    own = {**environment, "CHATFERRY_ADDRESS_FILE": str(folder.addresses / f"{name}.url")}
    argv = (sys.executable, "-m", "chatferry.participants")
    return Service(name, argv, own, str(folder.logs / f"{name}.log"), str(after))


async def _introduce(stage: Stage, options: Options, control: str) -> None:
    """Without events MAX names no chat: then the portal's records do, and a file says which chats of MAX they are."""
    links: dict[int, int] = {}
    if options.events == "off":
        async with open_control(control) as max_side:
            links = await publish_portal(stage.addresses.kafka, stage.project, await max_side.chats())
    write_atomically(stage.links_file, "".join(f"{chat},{max_chat}\n" for chat, max_chat in links.items()))


def _silent(control: str) -> str | None:
    try:
        httpx.get(f"{control}/truth/counts", timeout=5, trust_env=False).raise_for_status()
    except httpx.HTTPError as failure:
        return f"it does not answer ({type(failure).__name__})"
    return None
