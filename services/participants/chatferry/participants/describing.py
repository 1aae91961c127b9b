"""The OpenAPI document's own part: what each operation takes and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from chatferry.participants.domain.pages import Sort
from chatferry.participants.wire import (
    SEARCH_MAX,
    ChatCountAnswer,
    CountsAnswer,
    CountsRequest,
    ErrorAnswer,
    LinkAnswer,
    LinkRequest,
    PageAnswer,
)

_REF = "#/components/schemas/{model}"
_CODES = {
    400: "BROKEN_CURSOR, BROKEN_UPDATE, INVALID_REQUEST (a body that was not sent to its end)",
    401: "INVALID_KEY, INVALID_SECRET",
    404: "UNKNOWN_CHAT, NOT_FOUND",
    409: "MAX_CHAT_TAKEN, MAX_CHAT_OTHER",
    413: "BODY_TOO_LARGE",
    422: "INVALID_REQUEST: the sentence says what is wrong",
    429: "TOO_MANY_REQUESTS, with Retry-After",
    503: "UNAVAILABLE, with Retry-After",
}
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One path and method. `errors`: its statuses that are not 200."""

    method: str
    path: str
    summary: str
    answer: type[BaseModel] | None
    errors: tuple[int, ...]
    parameters: tuple[Json, ...] = ()
    body: type[BaseModel] | None = None


def _query(name: str, about: str, **schema: Any) -> Json:
    return {"name": name, "in": "query", "required": False, "description": about, "schema": schema}


_ID: Json = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "A chat of the portal, above 0; one that only MAX has, below 0.",
    "schema": {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1},
}
_LINKED: Json = {
    **_ID,
    "description": "A chat of the portal, above 0; below 0 one of MAX, with the same max_chat_id: to be known.",
}
_FRESH = _query(
    "fresh_participants", "Read from MAX what is older than a second, and wait for it a little.", type="boolean"
)
_PAGE = (
    _query("sort", "What has no value comes last.", type="string", enum=list(Sort), default=Sort.LAST_ACTIVITY.value),
    _query("order", "Without it titles ascend and all else descends.", type="string", enum=["asc", "desc"]),
    _query(
        "search",
        "Part of a title; case, accents and the dots of ё make no difference; й is not и.",
        type="string",
        maxLength=SEARCH_MAX,
    ),
    _query("limit", "Most chats on the page.", type="integer", minimum=1, maximum=200, default=50),
    _query("cursor", "`next_cursor` of the page before, of the same query.", type="string"),
    _FRESH,
)
_READING = (401, 422, 429, 503)
OPERATIONS: dict[str, Operation] = {
    "page": Operation(
        "GET", "/chats/all", "All chats with their counts, sorted and searched.", PageAnswer, (400, *_READING), _PAGE
    ),
    "counts": Operation(
        "POST",
        "/chats/participants",
        "Counts of many chats, with what is known best by the deadline.",
        CountsAnswer,
        (400, 413, *_READING),
        body=CountsRequest,
    ),
    "one": Operation(
        "GET", "/chats/{id}/participants", "One chat's count.", ChatCountAnswer, (404, *_READING), (_ID, _FRESH)
    ),
    "link": Operation(
        "PUT",
        "/chats/{id}/max",
        "Say which chat of MAX a chat of the portal is, or that there is one that only MAX has.",
        LinkAnswer,
        (400, 404, 409, 413, *_READING),
        (_LINKED,),
        body=LinkRequest,
    ),
    "webhook": Operation("POST", "/max/updates", "MAX's events; for MAX alone.", None, (400, 401, 413, 503)),
}


def described(name: str) -> Json:
    """What FastAPI is told of an operation."""
    operation = OPERATIONS[name]
    extra: Json = {"parameters": list(operation.parameters)} if operation.parameters else {}
    extra["security"] = [{"Secret" if name == "webhook" else "Key": []}]
    if operation.body is not None:
        extra["requestBody"] = _body({"$ref": _REF.format(model=operation.body.__name__)})
    elif name == "webhook":
        extra["requestBody"] = _body({"type": "object", "description": "An Update of the MAX Bot API."})
    done: Json = {"description": "Done"}
    if operation.answer is not None:
        done["model"] = operation.answer
    else:
        done["content"] = {"application/json": {"schema": {"type": "object"}}}
    return {
        "operation_id": name,
        "summary": operation.summary,
        "response_model": None,
        "responses": {
            200: done,
            **{status: {"model": ErrorAnswer, "description": _CODES[status]} for status in operation.errors},
        },
        "openapi_extra": extra,
    }


def describe(document: Json) -> Json:
    """Adds the bodies' schemas, and how callers say who they are."""
    bodies = [operation.body for operation in OPERATIONS.values() if operation.body is not None]
    _, schemas = models_json_schema([(model, "validation") for model in bodies], ref_template=_REF)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas["$defs"])
    components["securitySchemes"] = {
        "Key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        "Secret": {"type": "apiKey", "in": "header", "name": "X-Max-Bot-Api-Secret"},
    }
    return document


def _body(schema: Json) -> Json:
    return {"required": True, "content": {"application/json": {"schema": schema}}}
