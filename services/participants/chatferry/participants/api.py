"""The FastAPI application: readers' calls, MAX's webhook, and the OpenAPI document that describes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from chatferry.common.errors import OutageError
from chatferry.participants.admission import Keys, Rates, read_body
from chatferry.participants.describing import OPERATIONS, describe, described
from chatferry.participants.domain.catalogue import own_id
from chatferry.participants.domain.counts import ChatId, MaxChatId
from chatferry.participants.domain.pages import BrokenCursorError, Cursors
from chatferry.participants.metrics import Watching
from chatferry.participants.ports import MaxChatTakenError, MaxSide
from chatferry.participants.refusals import (
    RefusedCallError,
    answer_cursor,
    answer_fault,
    answer_gone,
    answer_http,
    answer_outage,
    answer_refused,
    not_yet,
)
from chatferry.participants.serving import Serving
from chatferry.participants.webhook import Webhook
from chatferry.participants.wire import (
    Rendered,
    chat_id,
    counts_request,
    link_request,
    page_request,
    render_chat,
    render_count,
    wants_fresh,
)

_BODY_BYTES_MAX = 64 * 1024
Call = Callable[[Request], Awaitable[Rendered]]
Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Calls:
    """Readers' calls, each from a request to what JSON is made of. Each raises RefusedCallError."""

    serving: Serving
    catalogue: MaxSide
    cursors: Cursors
    page_max: int

    async def page(self, request: Request) -> Rendered:
        """`GET /chats/all`. Raises BrokenCursorError."""
        asked = page_request(request.query_params, self.page_max)
        after = None if asked.cursor is None else self.cursors.read(asked.query, asked.cursor)
        page = await self._filled().page(asked.query, after, asked.limit, fresh=asked.fresh)
        return {
            "chats": [render_chat(one.entry, one.count, one.state) for one in page.chats],
            "next_cursor": None if page.end is None else self.cursors.write(asked.query, page.end),
            "use_cached_participants": page.cached,
            "total": page.total,
        }

    async def counts(self, request: Request) -> Rendered:
        """`POST /chats/participants`."""
        asked = counts_request(await read_body(request, _BODY_BYTES_MAX))
        deadline_s = None if asked.deadline_ms is None else asked.deadline_ms / 1_000
        found = await self._filled().counts([ChatId(one) for one in asked.ids], deadline_s, fresh=asked.fresh)
        return {
            "counts": {str(one.entry.id): render_count(one.count, one.state) for one in found.chats},
            "unknown": found.unknown,
            "incomplete": found.incomplete,
        }

    async def one(self, request: Request) -> Rendered:
        """`GET /chats/{id}/participants`."""
        chat, fresh = chat_id(request.path_params["id"]), wants_fresh(request.query_params)
        found = await self._filled().counts([chat], None, fresh=fresh)
        if not found.chats:
            raise _unknown()
        return {"id": chat, **render_count(found.chats[0].count, found.chats[0].state)}

    async def link(self, request: Request) -> Rendered:
        """`PUT /chats/{id}/max`. Raises OutageError."""
        chat = chat_id(request.path_params["id"])
        max_chat = link_request(await read_body(request, _BODY_BYTES_MAX))
        self._filled()
        if chat <= 0:
            return await self._made_known(chat, max_chat)
        try:
            changed = await self.catalogue.link(chat, max_chat)
        except MaxChatTakenError:
            sentence = "Another chat is linked to this chat of MAX: end that link first."
            raise RefusedCallError(409, "MAX_CHAT_TAKEN", sentence) from None
        if changed is None:
            raise _unknown()
        # What is cached is of the chats of MAX that they were before.
        await self.serving.renew(changed)
        return {"id": chat, "max_chat_id": max_chat}

    async def _made_known(self, chat: ChatId, max_chat: MaxChatId | None) -> Rendered:
        if chat == 0:
            raise _unknown()
        if max_chat is None or own_id(max_chat) != chat:
            sentence = "A chat that only MAX has, with an id below 0, is itself: give the same id as max_chat_id."
            raise RefusedCallError(409, "MAX_CHAT_OTHER", sentence)
        known = await self.serving.make_known(max_chat, self.catalogue)
        return {"id": known, "max_chat_id": max_chat}

    def _filled(self) -> Serving:
        if not self.serving.view.filled:
            raise not_yet()
        return self.serving


@dataclass(frozen=True, slots=True)
class Gate:
    """What every reader's call passes before anything of it is read: its key, and that key's rate."""

    keys: Keys
    rates: Rates
    watching: Watching

    def answerer(self, name: str, call: Call) -> Answer:
        """What answers one kind of call; all refusals are counted with it."""

        async def answer(request: Request) -> Response:
            with self.watching.timed(name) as status:
                try:
                    self.rates.take(self.keys.check(request.headers.get("x-api-key")))
                    body = orjson.dumps(await call(request))
                except RefusedCallError as refused:
                    status.append(refused.status)
                    raise
                except (BrokenCursorError, ClientDisconnect):
                    status.append(400)
                    raise
                except OutageError:
                    status.append(503)
                    raise
                status.append(200)
                return Response(body, media_type="application/json")

        return answer


class ParticipantsApi(FastAPI):
    """Adds to the OpenAPI document what FastAPI cannot see."""

    def openapi(self) -> dict[str, Any]:
        return describe(super().openapi())


def build_api(answers: Sequence[tuple[str, Answer]]) -> FastAPI:
    """The application; `answers` are by the names of OPERATIONS."""
    api = ParticipantsApi(
        title="chatferry participants",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's own spans would hold what was searched for.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for name, answer in answers:
        operation = OPERATIONS[name]
        api.add_api_route(operation.path, _endpoint(answer), methods=[operation.method], **described(name))
    api.add_exception_handler(RefusedCallError, answer_refused)
    api.add_exception_handler(BrokenCursorError, answer_cursor)
    api.add_exception_handler(OutageError, answer_outage)
    api.add_exception_handler(ClientDisconnect, answer_gone)
    api.add_exception_handler(HTTPException, answer_http)
    api.add_exception_handler(Exception, answer_fault)
    return api


def answers_of(gate: Gate, calls: Calls, webhook: Webhook | None) -> list[tuple[str, Answer]]:
    """For `build_api`. Without a webhook MAX's events do not come this way."""
    named = (("page", calls.page), ("counts", calls.counts), ("one", calls.one), ("link", calls.link))
    answers = [(name, gate.answerer(name, call)) for name, call in named]
    return answers if webhook is None else [*answers, ("webhook", webhook)]


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document; needs no service to run."""

    async def unanswered(_: Request) -> Response:
        raise NotImplementedError("this application only describes")

    return build_api([(name, unanswered) for name in OPERATIONS]).openapi()


def _endpoint(answer: Answer) -> Answer:
    async def endpoint(request: Request) -> Response:
        return await answer(request)

    return endpoint


def _unknown() -> RefusedCallError:
    return RefusedCallError(404, "UNKNOWN_CHAT", "There is no such chat.")
