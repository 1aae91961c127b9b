"""How calls enter: `POST /rest/{user}/{secret}/import.<family>.<verb>`, checked, handed to the flow, answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from chatferry.chat.admission import Access, Bodies
from chatferry.chat.domain.items import Kind, SourceId, source_id
from chatferry.chat.domain.positions import ForeignMarkError
from chatferry.chat.flow import Importing, Reading
from chatferry.chat.metrics import ChatMetrics
from chatferry.chat.ports import AnswerTooLargeError
from chatferry.chat.refusals import RefusedCallError, away_answer, bad_request, invalid
from chatferry.chat.watch import Watch
from chatferry.chat.wire import Served
from chatferry.common.contracts.target import CountRequest, GetRequest, ListRequest
from chatferry.common.telemetry.traces import span

M = TypeVar("M", bound=BaseModel)
Verb = Callable[[Served, bytes], Awaitable[Any]]
VERBS = ("batch", "count", "get", "list")


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one target. Each takes a family and a body, and gives what JSON is made of."""

    importing: Importing
    reading: Reading
    metrics: ChatMetrics
    batch_items_max: int

    async def batch(self, served: Served, body: bytes) -> dict[str, Any]:
        """`import.<family>.batch`."""
        batch = served.read(body)
        kind = _kind(served, batch.entity)
        if batch.size > self.batch_items_max:
            raise bad_request("BATCH_TOO_LARGE", f"A batch may have {self.batch_items_max} items: send smaller ones.")
        parent = served.kinds[kind.entity.parent] if kind.entity.parent else None
        outcomes = await self.importing.batch(kind, parent, batch.items)
        for position, outcome in batch.wrong:  # ascending, so that each lands where its item was
            outcomes.insert(position, outcome)
        self.metrics.count(batch.entity, (outcome.status for outcome in outcomes))
        return {"results": [outcome.as_json() for outcome in outcomes]}

    async def count(self, served: Served, body: bytes) -> dict[str, Any]:
        """`import.<family>.count`."""
        asked = _read(CountRequest, body)
        kind = _kind(served, asked.entity)
        return {"count": await self.reading.count(kind, _parent(kind, asked.parent))}

    async def get(self, served: Served, body: bytes) -> dict[str, Any]:
        """`import.<family>.get`."""
        asked = _read(GetRequest, body)
        try:
            items, missing = await self.reading.get(_kind(served, asked.entity), asked.keys)
        except AnswerTooLargeError:
            raise bad_request(
                "ANSWER_TOO_LARGE", "These records are too large for one answer: ask for fewer."
            ) from None
        return {"items": items, "missing": missing}

    async def list(self, served: Served, body: bytes) -> dict[str, Any]:
        """`import.<family>.list`."""
        asked = _read(ListRequest, body)
        kind = _kind(served, asked.entity)
        try:
            items, following = await self.reading.list(kind, _parent(kind, asked.parent), asked.after, asked.limit)
        except ForeignMarkError:
            raise bad_request("INVALID_REQUEST", "after is not the next of a page of this list.") from None
        return {"items": items, "next": following}

    def verb(self, name: str) -> Verb:
        """The call of one of VERBS."""
        return {"batch": self.batch, "count": self.count, "get": self.get, "list": self.list}[name]


@dataclass(frozen=True, slots=True)
class Gate:
    """What every call passes: credentials, readiness, the body's size."""

    access: Access
    bodies: Bodies
    watch: Watch
    metrics: ChatMetrics

    def answerer(self, calls: Calls) -> Callable[[str, str, Served], Callable[[Request], Awaitable[Response]]]:
        """What answers a method of that name, for `build_api`."""

        def answer(name: str, verb: str, served: Served) -> Callable[[Request], Awaitable[Response]]:
            return lambda request: self.call(request, name, calls.verb(verb), served)

        return answer

    async def call(self, request: Request, name: str, verb: Verb, served: Served) -> Response:
        """One call. Raises RefusedCallError, OutageError, ClientDisconnect: the answers to them are in `refusals`."""
        self.enter(request)
        if not self.watch.prepared:
            return away_answer()
        with self.metrics.timed(name), span(name, within=request.headers.get("traceparent")):
            async with self.bodies.body(request) as body:
                return Response(orjson.dumps(await verb(served, body)), media_type="application/json")

    def enter(self, request: Request) -> None:
        """Raises RefusedCallError (401) for a wrong user or secret."""
        self.access.check(request.path_params["user"], request.path_params["secret"])

    async def unknown(self, request: Request) -> Response:
        """Any other method under /rest/. Raises RefusedCallError: 401, or 404."""
        self.enter(request)
        raise RefusedCallError(404, "ERROR_METHOD_NOT_FOUND", "Method not found!")


def _read(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as wrong:
        raise invalid(wrong, model) from None


def _kind(served: Served, entity: str) -> Kind:
    kind = served.kinds.get(entity)
    if kind is None:
        raise bad_request("UNKNOWN_ENTITY", f"entity must be one of this family's: {', '.join(served.kinds)}.")
    return kind


def _parent(kind: Kind, parent: str | None) -> SourceId | None:
    if parent is None:
        return None
    prefix = kind.parent_prefix
    found = source_id(prefix, parent) if prefix is not None else None
    if found is None:
        wanted = "this entity has no parent" if prefix is None else f"must be a key like {prefix}1489"
        raise bad_request("INVALID_REQUEST", f"parent: {wanted}.")
    return found
