"""The FastAPI application: one route per family and call, and the OpenAPI document that describes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from chatferry.chat.handlers import VERBS
from chatferry.chat.refusals import (
    RefusedCallError,
    answer_fault,
    answer_gone,
    answer_http,
    answer_outage,
    answer_refused,
)
from chatferry.chat.wire import Served, serve
from chatferry.common.contracts.target import (
    CountAnswer,
    CountRequest,
    GetAnswer,
    GetRequest,
    ImportAnswer,
    ImportBatch,
    ListAnswer,
    ListRequest,
    TargetError,
)
from chatferry.common.entities import ENTITIES, FAMILIES
from chatferry.common.errors import OutageError

_REF = "#/components/schemas/{model}"
_BODIES: dict[str, tuple[type[BaseModel], type[BaseModel], str]] = {
    "batch": (ImportBatch, ImportAnswer, "Import a batch: one result per item, in the order of the items."),
    "count": (CountRequest, CountAnswer, "How many records there are, of one parent or in all."),
    "get": (GetRequest, GetAnswer, "Records by their keys."),
    "list": (ListRequest, ListAnswer, "Every record once, by ascending source id, page by page."),
}
_ERRORS = {
    400: "INVALID_REQUEST, UNKNOWN_ENTITY, BATCH_TOO_LARGE, ANSWER_TOO_LARGE",
    401: "INVALID_CREDENTIALS",
    404: "ERROR_METHOD_NOT_FOUND",
    413: "BODY_TOO_LARGE",
    503: "TEMPORARILY_UNAVAILABLE, with Retry-After",
}
Answer = Callable[[Request], Awaitable[Response]]
Answerer = Callable[[str, str, Served], Answer]


class TargetApi(FastAPI):
    """Adds to the OpenAPI document what FastAPI cannot see: the bodies, and the records that `data` has to be."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        models: list[type[BaseModel]] = [request for request, _, _ in _BODIES.values()]
        models += [entity.model for entity in ENTITIES.values()]
        _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
        document["components"]["schemas"].update(schemas["$defs"])
        return document


def build_api(answerer: Answerer, unknown: Answer) -> FastAPI:
    """The application of one target: `answerer(name, verb, served)` answers one method, `unknown` all others."""
    api = TargetApi(
        title="chatferry target",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's own spans hold the path, and with it the secret.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for family in FAMILIES:
        served = serve(family)
        for verb in VERBS:
            name = f"import.{family}.{verb}"
            _add(api, name, served, answerer(name, verb, served))
    api.add_api_route("/rest/{user}/{secret}/{method:path}", unknown, methods=["POST"], include_in_schema=False)
    api.add_exception_handler(RefusedCallError, answer_refused)
    api.add_exception_handler(OutageError, answer_outage)
    api.add_exception_handler(ClientDisconnect, answer_gone)
    api.add_exception_handler(HTTPException, answer_http)
    api.add_exception_handler(Exception, answer_fault)
    return api


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of any target; needs no target to run."""

    async def unanswered(_: Request) -> Response:
        raise NotImplementedError("this application only describes")

    return build_api(lambda *_: unanswered, unanswered).openapi()


def _add(api: FastAPI, name: str, served: Served, answer: Answer) -> None:
    request_model, answer_model, summary = _BODIES[name.rpartition(".")[2]]
    data = ", ".join(f"{entity}: {kind.entity.model.__name__}" for entity, kind in served.kinds.items())
    api.add_api_route(
        f"/rest/{{user}}/{{secret}}/{name}",
        _endpoint(answer),
        methods=["POST"],
        operation_id=name,
        summary=summary,
        description=f"Entities, and the schema of their `data`: {data}.",
        response_model=None,
        responses={
            200: {"model": answer_model, "description": "Done"},
            **{status: {"model": TargetError, "description": codes} for status, codes in _ERRORS.items()},
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": _REF.format(model=request_model.__name__)}}},
            }
        },
    )


def _endpoint(answer: Answer) -> Callable[[Request, str, str], Awaitable[Response]]:
    async def endpoint(request: Request, user: str, secret: str) -> Response:
        del user, secret  # named for the OpenAPI document; the gate reads them from the path
        return await answer(request)

    return endpoint
