"""A portal on the network, inside the caller's event loop: HTTP, HTTPS and the control interface, each on its port."""

import os
import secrets
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import trustme
from starlette.types import ASGIApp

from chatferry.simulators.bitrix24.changes import Changes
from chatferry.simulators.bitrix24.control import control_app
from chatferry.simulators.bitrix24.engine import Engine, Statistics
from chatferry.simulators.bitrix24.faults import FaultPlan
from chatferry.simulators.bitrix24.limits import LeakyBuckets
from chatferry.simulators.bitrix24.model import ALL_SCOPES, Portal, Webhook
from chatferry.simulators.bitrix24.settings import PortalSettings, ServeSettings
from chatferry.simulators.bitrix24.switchboard import Switchboard
from chatferry.simulators.bitrix24.transport import RestApp
from chatferry.simulators.clock import ScaledClock
from chatferry.simulators.listener import Listener, listen


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
    """Answers until the block is left. Raises OSError, with a sentence, when a port is taken."""
    settings, where = settings or PortalSettings(), where or ServeSettings()
    clock = ScaledClock(settings.clock_speed)
    engine = Engine(portal, settings, clock, FaultPlan(Random(where.fault_seed)))  # noqa: S311 no secret is made of it
    rest = RestApp(engine, LeakyBuckets(settings.bucket, clock), settings.auth_status, settings.https_required)
    board = Switchboard(engine, rest, clock)
    async with AsyncExitStack() as stack:
        state_dir = stack.enter_context(_state_dir(where.state_dir))
        tls, ca_file = _certificates(where.name, state_dir)
        stack.push_async_callback(board.close)

        async def side(app: ASGIApp, port: int | None, tls: ssl.SSLContext | None = None) -> str | None:
            if port is None:
                return None
            listener = await stack.enter_async_context(listen(app, where.host, port, tls, where.name))
            listeners.append(listener)
            return listener.url

        listeners: list[Listener] = []
        http, https = await side(rest, where.http_port), await side(rest, where.https_port, tls)
        urls = _UrlFiles(portal, http or https, state_dir)
        control = await side(control_app(board, urls.issue), where.control_port)
        yield Running(portal, board, http, https, control and f"{control}/control", ca_file, state_dir)
        for listener in listeners:
            listener.stop()


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
