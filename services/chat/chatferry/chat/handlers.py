"""How calls enter: `POST /rest/{user}/{secret}/import.<family>.<verb>`, checked, handed to the flow, answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from chatferry.chat.admission import Access, Bodies
from chatferry.chat.domain.items import Kind, Outcome, RefusedItemError, SourceId, faults, refused, source_id
from chatferry.chat.domain.positions import ForeignMarkError
from chatferry.chat.flow import Importing, Reading
from chatferry.chat.metrics import ChatMetrics
from chatferry.chat.ports import AnswerTooLargeError
from chatferry.chat.refusals import RefusedCallError, away_answer, bad_request
from chatferry.chat.watch import Watch
from chatferry.common.contracts.target import CountRequest, GetRequest, ImportBatch, ImportItem, ListRequest
from chatferry.common.telemetry.traces import span

M = TypeVar("M", bound=BaseModel)
Kinds = Mapping[str, Kind]
Verb = Callable[[Kinds, bytes], Awaitable[Any]]
VERBS = ("batch", "count", "get", "list")


class _LooseBatch(BaseModel):
    """A batch of which only the items' keys must be right: read when the strict one fails, to name the wrong items."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    entity: str
    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls of one target. Each takes the entities of a family and a body, and gives what JSON is made of."""

    importing: Importing
    reading: Reading
    metrics: ChatMetrics
    batch_items_max: int

    async def batch(self, kinds: Kinds, body: bytes) -> dict[str, Any]:
        """`import.<family>.batch`."""
        entity, items, wrong = _read_batch(body)
        if len(items) + len(wrong) > self.batch_items_max:
            raise bad_request("BATCH_TOO_LARGE", f"A batch may have {self.batch_items_max} items: send smaller ones.")
        kind = _kind(kinds, entity)
        parent = kinds[kind.entity.parent] if kind.entity.parent else None
        outcomes = await self.importing.batch(kind, parent, items)
        for position, outcome in wrong:  # ascending, so that each lands where its item was
            outcomes.insert(position, outcome)
        self.metrics.count(entity, (outcome.status for outcome in outcomes))
        return {"results": [outcome.as_json() for outcome in outcomes]}

    async def count(self, kinds: Kinds, body: bytes) -> dict[str, Any]:
        """`import.<family>.count`."""
        asked = _read(CountRequest, body)
        kind = _kind(kinds, asked.entity)
        return {"count": await self.reading.count(kind, _parent(kind, asked.parent))}

    async def get(self, kinds: Kinds, body: bytes) -> dict[str, Any]:
        """`import.<family>.get`."""
        asked = _read(GetRequest, body)
        try:
            items, missing = await self.reading.get(_kind(kinds, asked.entity), asked.keys)
        except AnswerTooLargeError:
            raise bad_request(
                "ANSWER_TOO_LARGE", "These records are too large for one answer: ask for fewer."
            ) from None
        return {"items": items, "missing": missing}

    async def list(self, kinds: Kinds, body: bytes) -> dict[str, Any]:
        """`import.<family>.list`."""
        asked = _read(ListRequest, body)
        kind = _kind(kinds, asked.entity)
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

    def answerer(self, calls: Calls) -> Callable[[str, str, Kinds], Callable[[Request], Awaitable[Response]]]:
        """What answers a method of that name, for `build_api`."""

        def answer(name: str, verb: str, kinds: Kinds) -> Callable[[Request], Awaitable[Response]]:
            return lambda request: self.call(request, name, calls.verb(verb), kinds)

        return answer

    async def call(self, request: Request, name: str, verb: Verb, kinds: Kinds) -> Response:
        """One call. Raises RefusedCallError, OutageError, ClientDisconnect: the answers to them are in `refusals`."""
        self.enter(request)
        if not self.watch.prepared:
            return away_answer()
        traceparent = request.headers.get("traceparent")
        with self.metrics.timed(name), span(name, [traceparent] if traceparent else []):
            async with self.bodies.body(request) as body:
                return Response(orjson.dumps(await verb(kinds, body)), media_type="application/json")

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
        raise _invalid(wrong, model) from None


def _invalid(wrong: ValidationError, model: type[BaseModel]) -> RefusedCallError:
    if any(error["type"] == "json_invalid" for error in wrong.errors(include_input=False, include_context=False)):
        return bad_request("INVALID_REQUEST", "The body is not valid JSON in UTF-8.")
    return bad_request("INVALID_REQUEST", faults(wrong, model))


def _read_batch(body: bytes) -> tuple[str, list[ImportItem], list[tuple[int, Outcome]]]:
    """Entity, items, and by position the items that are none. Raises RefusedCallError."""
    try:
        batch = ImportBatch.model_validate_json(body)
    except ValidationError:
        return _read_item_by_item(_read(_LooseBatch, body))
    return batch.entity, batch.items, []


def _read_item_by_item(batch: _LooseBatch) -> tuple[str, list[ImportItem], list[tuple[int, Outcome]]]:
    items: list[ImportItem] = []
    wrong: list[tuple[int, Outcome]] = []
    for position, item in enumerate(batch.items):
        key = item.get("key")
        if not isinstance(key, str) or not 0 < len(key) <= 256:
            raise bad_request("INVALID_REQUEST", f"items.{position}.key: must be a text of 1 to 256 characters.")
        try:
            items.append(ImportItem.model_validate(item))
        except ValidationError as invalid:
            wrong.append((position, refused(key, RefusedItemError("INVALID_ITEM", faults(invalid, ImportItem)))))
    return batch.entity, items, wrong


def _kind(kinds: Kinds, entity: str) -> Kind:
    kind = kinds.get(entity)
    if kind is None:
        raise bad_request("UNKNOWN_ENTITY", f"entity must be one of this family's: {', '.join(kinds)}.")
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
