"""Starting a project on this machine: the stack, the target, the services, and for a demo the portal too."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx

from chatferry.common.errors import ConfigurationError, FatalError
from chatferry.common.portal.webhook import parse_webhooks
from chatferry.common.settings import secret_lines
from chatferry.operator.folder import Folder, Project, described, read_json, target_url
from chatferry.operator.processes import SUPERVISOR, stop
from chatferry.operator.readiness import unready
from chatferry.operator.supervisor import Plan, Service
from chatferry.stack import Addresses

Announce = Callable[[str], None]
TARGET = "chat"
SERVICES: tuple[str, ...] = (TARGET, "importer", "extractor", "verifier")
_READY_S = 60.0
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class SimulatedPortal:
    """A Bitrix24 portal of ours: `data`, a folder of chats, or a portal made from `seed`."""

    data: Path | None
    seed: int
    users: int
    chats: int
    messages: int
    bucket: str


@dataclass(frozen=True, slots=True)
class GivenPortal:
    """A real one: webhook URLs, one a line, in a file of mode 600."""

    webhooks_file: Path


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start. `settings`: variables for every service, instead of ours where both are; `stack_root`: where the
    local stack lives, `target`: the file with the URL of a target that others run; without one ours is started."""

    project: str
    addresses: Addresses
    portal: SimulatedPortal | GivenPortal
    settings: Mapping[str, str]
    stack_root: Path | None
    target: Path | None = None


def launch(folder: Folder, wanted: Launch, lock: IO[str], announce: Announce) -> Project:
    """Start everything under a supervisor and wait until each service is ready. Raises FatalError with the
    reason, after ending what it started."""
    for old in folder.addresses.iterdir():
        old.unlink()
    simulated = _simulated(folder, wanted.portal) if isinstance(wanted.portal, SimulatedPortal) else None
    webhooks_file = simulated.webhooks_file if simulated else wanted.portal.webhooks_file  # type: ignore[union-attr]
    environment = {
        "CHATFERRY_PROJECT": wanted.project,
        "CHATFERRY_KAFKA": wanted.addresses.kafka,
        "CHATFERRY_MONGODB": wanted.addresses.mongodb,
        "CHATFERRY_REDIS": wanted.addresses.redis,
        "CHATFERRY_PORTAL_WEBHOOKS_FILE": str(webhooks_file),
    }
    if wanted.target is None:
        target_port = free_port()
        environment |= _our_target(folder, target_port)
        names = SERVICES
    else:
        target_port = 0
        environment["CHATFERRY_TARGET_URL_FILE"] = str(wanted.target)
        names = tuple(name for name in SERVICES if name != TARGET)
    told = {**environment, **wanted.settings}
    services = [_service(folder, name, told, target_port if name == TARGET else 0) for name in names]
    if simulated is not None:
        services.insert(0, simulated.service)
    supervisor = supervise(folder, wanted.stack_root, services, lock)
    _wait_until_ready(folder, supervisor, simulated, names, announce)
    project = described(environment)
    folder.save(project)
    return project


def _our_target(folder: Folder, port: int) -> dict[str, str]:
    secret = secrets.token_urlsafe(24)
    return {
        "CHATFERRY_TARGET_URL_FILE": str(folder.secret("target.url", f"http://127.0.0.1:{port}/rest/1/{secret}")),
        "CHATFERRY_CHAT_WEBHOOK_SECRET_FILE": str(folder.secret("target.secret", secret)),
    }


@dataclass(frozen=True, slots=True)
class _Simulated:
    service: Service
    webhooks_file: Path
    state: Path
    url: str


def _simulated(folder: Folder, portal: SimulatedPortal) -> _Simulated:
    state, port = folder.secrets / "portal", free_port()
    (folder.secrets / "webhooks").unlink(missing_ok=True)
    state.mkdir(exist_ok=True)
    for old in state.iterdir():
        old.unlink()
    argv = [sys.executable, "-m", "chatferry.simulators.bitrix24", "serve", "--port", str(port), "--https-port", "-1"]
    argv += ["--bucket", portal.bucket, "--state-dir", str(state), "--secret", secrets.token_urlsafe(16)]
    if portal.data is not None:
        argv += ["--data", str(portal.data)]
    else:
        argv += ["--seed", str(portal.seed), "--users", str(portal.users)]
        argv += ["--chats", str(portal.chats), "--messages", str(portal.messages)]
    service = Service("portal", tuple(argv), {}, str(folder.logs / "portal.log"))
    return _Simulated(service, folder.secrets / "webhooks", state, f"http://127.0.0.1:{port}")


def _service(folder: Folder, name: str, environment: Mapping[str, str], port: int) -> Service:
    own = {
        **environment,
        "CHATFERRY_HTTP_PORT": str(port),
        "CHATFERRY_ADDRESS_FILE": str(folder.addresses / f"{name}.url"),
    }
    argv = (sys.executable, "-m", f"chatferry.{name}")
    return Service(name, argv, own, str(folder.logs / f"{name}.log"), environment["CHATFERRY_PORTAL_WEBHOOKS_FILE"])


def supervise(
    folder: Folder, stack_root: Path | None, services: Sequence[Service], lock: IO[str]
) -> subprocess.Popen[bytes]:
    """Start what keeps these running, and the stack under `stack_root`; it inherits the folder's lock."""
    for service in services:
        Path(service.log).unlink(missing_ok=True)
    root = None if stack_root is None else str(stack_root)
    Plan(str(folder.root), tuple(services), root).write(folder.plan)
    with (folder.logs / "supervisor.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", SUPERVISOR, str(folder.plan)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )


def _wait_until_ready(
    folder: Folder,
    supervisor: subprocess.Popen[bytes],
    simulated: _Simulated | None,
    services: Sequence[str],
    announce: Announce,
) -> None:
    """Ends everything when it does not come to that."""
    try:
        if simulated is not None:
            wait_until(folder, supervisor, "portal", lambda: _collect_webhooks(simulated))
            announce("portal: answers")
        for name in services:
            wait_until(folder, supervisor, name, lambda name=name: not_ready(folder, name))  # type: ignore[misc]
            announce(f"{name}: ready")
    except BaseException:
        stop(folder)
        raise


def wait_until(folder: Folder, supervisor: subprocess.Popen[bytes], name: str, wrong: Callable[[], str | None]) -> None:
    """Until nothing is wrong with it any more. Raises FatalError: it takes too long, or has given up."""
    deadline = time.monotonic() + _READY_S
    while (reason := wrong()) is not None:
        failed = read_json(folder.processes).get("failed")
        if failed or supervisor.poll() is not None:
            raise FatalError(
                "start.failed", str(failed or f"the supervisor ended; see {folder.logs / 'supervisor.log'}")
            )
        if time.monotonic() > deadline:
            raise FatalError("start.late", f"{name} is not ready after {_READY_S:.0f} s: {reason}")
        time.sleep(_LOOK_S)


def _collect_webhooks(simulated: _Simulated) -> str | None:
    files = sorted(simulated.state.glob("webhook-*.url"))
    if not files:
        return "the portal has not written its webhooks yet"
    try:
        httpx.get(simulated.url, timeout=2, trust_env=False)
    except httpx.HTTPError as failure:
        return f"the portal does not answer ({type(failure).__name__})"
    urls = [file.read_text(encoding="utf-8").strip() for file in files]
    Folder(simulated.webhooks_file.parent.parent).secret("webhooks", "\n".join(urls))
    return None


def not_ready(folder: Folder, name: str) -> str | None:
    """What keeps a service from its work, None when nothing does."""
    file = folder.addresses / f"{name}.url"
    if not file.exists():
        return "it has not started to listen"
    return "; ".join(unready(file.read_text(encoding="utf-8").strip()).values()) or None


def free_port() -> int:
    """Of 127.0.0.1; another may take it before it is used."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def given_portal(folder: Folder, env: Mapping[str, str]) -> GivenPortal:
    """The portal that the environment names. Raises ConfigurationError when it names none, or what is no webhook."""
    file, urls = env.get("CHATFERRY_PORTAL_WEBHOOKS_FILE"), env.get("CHATFERRY_PORTAL_WEBHOOKS")
    if file:
        given = Path(file).absolute()
        parse_webhooks(secret_lines(None, given, "PORTAL_WEBHOOKS"))  # said now, and not by a service that cannot start
        return GivenPortal(given)
    if not urls:
        raise ConfigurationError(
            "no portal is given: set CHATFERRY_PORTAL_WEBHOOKS or CHATFERRY_PORTAL_WEBHOOKS_FILE,"
            " or try `chatferry demo`"
        )
    lines = [url.strip() for url in urls.split(",") if url.strip()]
    parse_webhooks(lines)
    return GivenPortal(folder.secret("webhooks", "\n".join(lines)))


def given_target(folder: Folder, env: Mapping[str, str]) -> Path | None:
    """The file with the URL of the target that the environment names, None: it names none.

    Raises ConfigurationError when what it names is no target's.
    """
    file, url = env.get("CHATFERRY_TARGET_URL_FILE"), env.get("CHATFERRY_TARGET_URL")
    if file:
        given = Path(file).absolute()
        target_url(secret_lines(None, given, "TARGET_URL"), f"CHATFERRY_TARGET_URL_FILE: {given}")
        return given
    return folder.secret("target.url", target_url([url.strip()], "CHATFERRY_TARGET_URL")) if url else None


def shown(url: str) -> str:
    """A URL without credentials and path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
