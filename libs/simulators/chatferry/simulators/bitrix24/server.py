"""A portal on the network, inside the caller's event loop: HTTP, HTTPS and the control interface, each on its port."""

import asyncio
import os
import secrets
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import trustme
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chatferry.simulators.bitrix24.changes import Changes
from chatferry.simulators.bitrix24.clock import ScaledClock
from chatferry.simulators.bitrix24.control import control_app
from chatferry.simulators.bitrix24.engine import Engine, Statistics
from chatferry.simulators.bitrix24.faults import FaultPlan
from chatferry.simulators.bitrix24.limits import LeakyBuckets
from chatferry.simulators.bitrix24.model import ALL_SCOPES, Portal, Webhook
from chatferry.simulators.bitrix24.settings import PortalSettings, ServeSettings
from chatferry.simulators.bitrix24.switchboard import Switchboard
from chatferry.simulators.bitrix24.transport import TRANSPORT_KEY, RestApp

DRAIN_S = 1
"""How long requests in flight may go on when the portal is stopped."""


def new_webhook(
    portal: Portal, user_id: int, secret: str | None = None, scopes: tuple[str, ...] = ALL_SCOPES
) -> Webhook:
    """A webhook that sees everything for the unlisted owner account, an employee's view for all others.

    Raises ValueError when the portal has no such user. A secret of None is drawn.
    """
    user = portal.users.get(user_id)
    all_seeing = user is not None and not user.listed and not user.bot
    return portal.add_webhook(Webhook(user_id, secret or secrets.token_hex(8), scopes, all_seeing))


@dataclass(frozen=True, slots=True)
class Running:
    """A portal that answers. URLs have no slash at the end; a side that is not served is None."""

    portal: Portal
    board: Switchboard
    http: str | None
    https: str | None
    control: str | None
    ca_file: Path
    state_dir: Path

    @property
    def changes(self) -> Changes:
        return self.board.changes

    @property
    def faults(self) -> FaultPlan:
        return self.board.engine.faults

    @property
    def statistics(self) -> Statistics:
        return self.board.engine.statistics

    def webhook_url(self, user_id: int, *, tls: bool = False) -> str:
        """`{base}/rest/{user}/{secret}`, a credential. Raises KeyError when that user has no webhook."""
        return f"{self.https if tls else self.http}/rest/{self.board.webhook(user_id).key}"

    def write_url_file(self, user_id: int) -> Path:
        """A file, mode 600, that holds the webhook's URL and nothing else."""
        return _UrlFiles(self.portal, self.http or self.https, self.state_dir).write(self.board.webhook(user_id))


@dataclass(frozen=True, slots=True)
class _UrlFiles:
    portal: Portal
    base: str | None
    folder: Path

    def issue(self, user_id: int, scopes: tuple[str, ...] | None) -> Path:
        return self.write(new_webhook(self.portal, user_id, None, ALL_SCOPES if scopes is None else scopes))

    def write(self, webhook: Webhook) -> Path:
        path = self.folder / f"webhook-{webhook.user_id}.url"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(f"{self.base}/rest/{webhook.key}")
        return path


@asynccontextmanager
async def serve(
    portal: Portal, settings: PortalSettings | None = None, where: ServeSettings | None = None
) -> AsyncIterator[Running]:
    """Answers until the block is left. Raises OSError when a port is taken."""
    settings, where = settings or PortalSettings(), where or ServeSettings()
    clock = ScaledClock(settings.clock_speed)
    engine = Engine(portal, settings, clock, FaultPlan(Random(where.fault_seed)))  # noqa: S311 no secret is made of it
    rest = RestApp(engine, LeakyBuckets(settings.bucket, clock), settings.auth_status, settings.https_required)
    async with AsyncExitStack() as stack:
        state_dir = stack.enter_context(_state_dir(where.state_dir))
        tls, ca_file = _certificates(where.host, state_dir)
        http = await stack.enter_async_context(_listen(rest, where.host, where.http_port, None))
        https = await stack.enter_async_context(_listen(rest, where.host, where.https_port, tls))
        board = Switchboard(engine, rest, clock)
        stack.push_async_callback(board.close)
        urls = _UrlFiles(portal, http or https, state_dir)
        control = await stack.enter_async_context(
            _listen(control_app(board, urls.issue), where.host, where.control_port, None)
        )
        yield Running(portal, board, http, https, control and f"{control}/control", ca_file, state_dir)


@contextmanager
def _state_dir(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="bitrix24-") as name:
        yield Path(name)


def _certificates(host: str, state_dir: Path) -> tuple[ssl.SSLContext, Path]:
    """A new CA, whose certificate clients must trust, and a server context with a certificate of it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*dict.fromkeys((host, "127.0.0.1", "localhost"))).configure_cert(context)
    ca_file = state_dir / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return context, ca_file


class _Protocol(HttpToolsProtocol):
    """Shows the application its transport, for faults that end a connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[TRANSPORT_KEY] = self.transport  # type: ignore[literal-required]


class _Server(uvicorn.Server):
    """Leaves the signals of the process alone and says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@asynccontextmanager
async def _listen(app: ASGIApp, host: str, port: int | None, tls: ssl.SSLContext | None) -> AsyncIterator[str | None]:
    """The base URL; None when there is no port to listen on."""
    if port is None:
        yield None
        return
    sock = _bound(host, port)
    server = _Server(
        uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_S,
            ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
        )
    )
    serving = asyncio.create_task(server.serve([sock]))
    ready = asyncio.create_task(server.ready.wait())
    try:
        await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        yield f"{'https' if tls else 'http'}://{host}:{sock.getsockname()[1]}"
    finally:
        ready.cancel()
        server.should_exit = True
        await serving
        sock.close()


def _bound(host: str, port: int) -> socket.socket:
    """The protocol is named because asyncio switches Nagle's delay off for such sockets only."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol or socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
