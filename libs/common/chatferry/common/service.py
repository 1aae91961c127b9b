"""How every service lives: HTTP for health and metrics first, then its work, retried while a part is away."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import uvicorn
import uvloop
from prometheus_client import make_asgi_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from chatferry.common.cancelling import mend_wait_for
from chatferry.common.clock import Clock, SystemClock
from chatferry.common.errors import ConfigurationError, FatalError, OutageError
from chatferry.common.health import Health
from chatferry.common.memory import settle_memory
from chatferry.common.places import waiting_places
from chatferry.common.settings import BaseServiceSettings, S, load_settings
from chatferry.common.streaming.connections import mend_connections
from chatferry.common.telemetry.logs import configure_logs, forget_values_of, get_logger
from chatferry.common.telemetry.metrics import Metrics
from chatferry.common.telemetry.traces import configure_traces

log = get_logger(__name__)
EXIT_LATER, EXIT_FATAL = 1, 2
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 3.0
# For work that does not say whom it has reached: several times as long as a client looks for a part that is away.
_CALM_S = 30.0


@dataclass(slots=True)
class Context:
    """What a service's work is given. `stopping` is set once the process was asked to end."""

    clock: Clock = field(default_factory=SystemClock)
    health: Health = field(default_factory=Health)
    metrics: Metrics = field(default_factory=Metrics)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.metrics.show_outages(self.health.parts)

    def missed(self, away: OutageError) -> None:
        """The work needs this part, and it is away: log and health (so the metric too) say so until it is `reached`."""
        log.warning("outage", part=away.part)
        self.health.outage(away.part, away.sentence)

    def reached(self, *parts: str) -> None:
        """The work has just had an answer from these: an outage that ended it before is over."""
        for part in parts:
            self.health.outage(part, None)


Work = Callable[[Context], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a service ended by itself."""

    sentence: str
    exit_code: int


class _Server(uvicorn.Server):
    """Ends on SIGTERM and SIGINT, and does not raise them again: a clean stop exits with 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def run_service(
    name: str, kind: type[S], work: Callable[[S], Work], routes: Callable[[Context], list[BaseRoute]] | None = None
) -> None:
    """Read the settings, run until SIGTERM or a fatal error, then exit: 0 after a clean stop, 2 when a person must act.

    1 after a failure that starting again may mend, a taken port among them. `work(settings)(context)` runs until
    `context.stopping`; an OutageError from it is waited out and it is run again.
    """
    try:
        settings = load_settings(kind)
        _check_certificate(settings.http_cert_file, settings.http_key_file)
        wanted = work(settings)
    except ConfigurationError as wrong:
        sys.stderr.write(f"chatferry {name}: {wrong.sentence}\n")
        sys.exit(EXIT_FATAL)
    configure_logs(name, settings.log_level)
    configure_traces(name, settings.project, settings.otlp_endpoint)
    settle_memory()
    failed: list[Failure] = []
    mend_connections()
    mend_wait_for()
    uvloop.run(_serve(name, settings, wanted, routes, failed))
    if failed:
        sys.stderr.write(f"chatferry {name}: {failed[0].sentence}\n")
        sys.exit(failed[0].exit_code)


async def _serve(
    name: str,
    settings: BaseServiceSettings,
    work: Work,
    routes: Callable[[Context], list[BaseRoute]] | None,
    failed: list[Failure],
) -> None:
    context = Context()
    listening = _listen(settings.http_host, settings.http_port)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        task = asyncio.create_task(_keep_working(work, context), name=f"{name} work")
        context.health.alive_when("work", lambda: "the service's work has ended" if task.done() else None)
        task.add_done_callback(lambda done: _end(done, server, failed))
        yield
        context.stopping.set()
        _done, late = await asyncio.wait([task], timeout=settings.drain_seconds)
        if late:
            log.error("drain.late", seconds=settings.drain_seconds, waiting=waiting_places())
            task.cancel()
            await asyncio.wait([task], timeout=1)

    app = Starlette(routes=[*_own_routes(context), *(routes(context) if routes else [])], lifespan=lifespan)
    server = _Server(_config(app, settings))
    scheme = "http" if settings.http_cert_file is None else "https"
    host, port = listening.getsockname()[:2]
    if settings.address_file is not None and not _told(settings.address_file, f"{scheme}://{host}:{port}", failed):
        listening.close()
        return
    log.info("service.started", host=host, port=port, project=settings.project)
    await server.serve(sockets=[listening])
    log.info("service.stopped")


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as taken:
        listening.close()
        sys.stderr.write(
            f"CHATFERRY_HTTP_PORT: {host}:{port} cannot be bound ({taken.strerror}); give another port, or 0.\n"
        )
        # Whoever has the port now may have left it at the next start.
        sys.exit(EXIT_LATER if taken.errno == errno.EADDRINUSE else EXIT_FATAL)
    return listening


def _config(app: Starlette, settings: BaseServiceSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=int(settings.drain_seconds) + 1,
        ssl_certfile=settings.http_cert_file,
        ssl_keyfile=settings.http_key_file,
    )


def _told(file: Path, url: str, failed: list[Failure]) -> bool:
    """Whether the file has the service's base URL now; if not, why."""
    try:
        file.write_text(f"{url}\n", encoding="utf-8")
    except OSError as refused:
        sentence = f"CHATFERRY_ADDRESS_FILE: {file} cannot be written ({refused.strerror}); name another"
        failed.append(Failure(sentence, EXIT_FATAL))
        return False
    return True


def _check_certificate(certificate: Path | None, key: Path | None) -> None:
    """Raises ConfigurationError for what cannot be shown to whoever connects."""
    if certificate is None and key is None:
        return
    if certificate is None:
        raise ConfigurationError("CHATFERRY_HTTP_KEY_FILE is set without CHATFERRY_HTTP_CERT_FILE; give both or none")
    try:
        # Without a password of ours, a key that has one would ask for it at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except OSError as unusable:
        beside = "the key behind it" if key is None else f"the key of CHATFERRY_HTTP_KEY_FILE, {key},"
        raise ConfigurationError(
            f"CHATFERRY_HTTP_CERT_FILE: {certificate} and {beside} are no certificate and key in PEM, "
            f"without a password ({unusable.strerror}); give such files"
        ) from None


async def _keep_working(work: Work, context: Context) -> None:
    forget_values_of(asyncio.get_running_loop())
    wait = _FIRST_WAIT_S
    calm: dict[str, asyncio.TimerHandle] = {}
    while not context.stopping.is_set():
        try:
            await work(context)
        except OutageError as away:
            if away.part in calm:
                calm[away.part].cancel()
            context.missed(away)
            await context.clock.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)
            calm[away.part] = asyncio.get_running_loop().call_later(_CALM_S, context.reached, away.part)
        else:
            return


def _end(done: asyncio.Task[None], server: uvicorn.Server, failed: list[Failure]) -> None:
    error = None if done.cancelled() else done.exception()
    if isinstance(error, FatalError):
        failed.append(Failure(error.sentence, EXIT_FATAL))
    elif error is not None:
        log.error("work.failed", exc_info=error)
        failed.append(Failure(f"its work ended with {type(error).__name__}; the log has the place", EXIT_LATER))
    server.should_exit = True


def _own_routes(context: Context) -> list[BaseRoute]:
    def alive(_: Request) -> Response:
        wrong = context.health.alive()
        return _answer(wrong, bad=bool(wrong))

    def ready(_: Request) -> Response:
        return _answer(context.health.ready(), bad=context.health.unready())

    return [
        Route("/healthz", alive),
        Route("/readyz", ready),
        # A mount alone has no path without a slash behind it: a service's own root would answer there.
        Route("/metrics", _Exposition(context.metrics)),
        Mount("/metrics", app=_Exposition(context.metrics)),
    ]


class _Exposition:
    """A class, for a route takes a function to be one that answers with a response."""

    def __init__(self, metrics: Metrics) -> None:
        self._app = make_asgi_app(metrics.registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _answer(wrong: dict[str, str], *, bad: bool) -> Response:
    body = {"ok": not bad, "wrong": wrong}
    return Response(orjson.dumps(body), status_code=503 if bad else 200, media_type="application/json")
