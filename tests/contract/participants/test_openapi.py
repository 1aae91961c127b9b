"""The running API keeps to its OpenAPI document: schemathesis asks all that this allows, and much that it does not."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest
import schemathesis
import uvicorn
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.engine import events
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.unit.participants.readers import KEY, SECRET, MemorySources, confirmed, entry, service

from chatferry.participants.api import openapi_document
from chatferry.participants.domain.counts import ChatId, Mark

SEED = 20_260_101
# A cursor or an event of MAX's cannot be made up: those of the right form are refused with 400, which is no fault.
CONFIG = f"""
seed = {SEED}
[auth.openapi.Key]
api_key = "{KEY}"
[auth.openapi.Secret]
api_key = "{SECRET}"
[generation]
max-examples = 12
database = "none"
[phases.stateful]
generation.max-examples = 3
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "404", "409"]
"""
_CHATS = [
    entry(1, "Ёлка", max_chat=-1),
    entry(2, None, max_chat=-2, counted=confirmed(3, mark=Mark.FROZEN)),
    entry(-3, "of MAX alone", max_chat=-3, activity_ms=2**62),
    entry(2**63 - 1, "largest", created_ms=None, activity_ms=None),
    *(entry(chat, f"chat {chat}") for chat in range(10, 200)),
]


def _cache(sources: MemorySources) -> None:
    sources.cached = {ChatId(1): confirmed(7, age_s=90)}


@pytest.fixture
def serve() -> Iterator[Callable[[ASGIApp], str]]:
    """Runs applications in threads; their addresses."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: ASGIApp) -> str:
        config = uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="off", loop="asyncio")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
        thread.start()
        running.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            thread.join(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


def _found(address: str, only: str | None = None) -> tuple[list[Failure], list[str], set[str]]:
    """What is wrong with the application there; what could not be asked; and the operations that were."""
    schema = schemathesis.openapi.from_dict(openapi_document(), config=SchemathesisConfig.from_str(CONFIG))
    schema.config.base_url = address
    chosen = schema if only is None else schema.include(path=only)
    failures: list[Failure] = []
    errors: list[str] = []
    asked: set[str] = set()
    for event in engine.from_schema(chosen).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            errors.append(repr(event))
        elif isinstance(event, events.ScenarioFinished):
            asked |= {event.label} if event.label else set()
            for checks in event.recorder.checks.values():
                failures += [check.failure_info.failure for check in checks if check.failure_info is not None]
    return failures, errors, asked


def test_schemathesis_finds_nothing(serve: Callable[[ASGIApp], str]) -> None:
    one = asyncio.run(service(_CHATS, rate=1_000_000, fresh_wait_s=0.01, change=_cache))
    failures, errors, asked = _found(serve(one.api))
    assert [f"{failure.operation}: {failure.title}: {failure.message}" for failure in failures] == []
    assert errors == []
    operations = {
        f"{method.upper()} {path}" for path, methods in openapi_document()["paths"].items() for method in methods
    }
    assert operations <= asked


def test_schemathesis_finds_a_fault(serve: Callable[[ASGIApp], str]) -> None:
    one = asyncio.run(service(_CHATS, rate=1_000_000, fresh_wait_s=0.01))

    async def without_totals(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/chats/all" or scope["method"] != "GET":
            await one.api(scope, receive, send)
            return
        transport = httpx.ASGITransport(one.api)
        async with httpx.AsyncClient(transport=transport, base_url="http://participants") as http:
            query, headers = scope["query_string"].decode(), {"x-api-key": KEY}
            answer = await http.get(f"/chats/all?{query}", headers=headers)
        body = answer.json()
        body.pop("total", None)
        await send({"type": "http.response.start", "status": answer.status_code, "headers": _JSON})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    failures, _, _ = _found(serve(without_totals), "/chats/all")
    assert any("total" in failure.message for failure in failures)


_JSON = [(b"content-type", b"application/json")]
