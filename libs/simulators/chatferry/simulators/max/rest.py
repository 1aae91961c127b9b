"""The REST side over ASGI: log, faults, token, rate, answer; in this order."""

import asyncio
import hmac
from collections.abc import Coroutine
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from chatferry.simulators.max.errors import ApiError
from chatferry.simulators.max.faults import Fault, FaultKind
from chatferry.simulators.max.handlers import Asked, Handlers
from chatferry.simulators.max.limits import SlidingWindow
from chatferry.simulators.max.paths import UPDATES, read_path
from chatferry.simulators.max.world import World
from chatferry.simulators.wire import BAD_GATEWAY, HTML_TYPE, Answer, reset, send_answer

NO_ANSWER = 0
WRONG_TOKEN = "verify.token"  # noqa: S105 an error code


class RestApp:
    """ASGI application. A call counts as in flight until its answer is out or its caller gone."""

    def __init__(self, world: World, token: str, random: Random) -> None:
        self._world = world
        self._token = token.encode()
        self._random = random
        self._handlers = Handlers(world)
        self._window = SlidingWindow()
        self._updates_window = SlidingWindow()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, chat_id = read_path(scope["path"])
        call = self._world.traffic.begin(path, chat_id)
        status = NO_ANSWER
        try:
            status = await self._serve(path, chat_id, Request(scope, receive), send)
        finally:
            self._world.traffic.end(call, status)

    async def _serve(self, path: str, chat_id: int | None, request: Request, send: Send) -> int:
        fault = self._world.faults.draw(path, chat_id)
        try:
            asked = Asked(request.method, chat_id, _query(request), await request.body())
        except ClientDisconnect:
            return NO_ANSWER
        if fault is not None and fault.kind is FaultKind.RESET:
            reset(request.scope)
            return NO_ANSWER
        answer = await _unless_gone(request, self._answer(path, asked, request, fault))
        if answer is None:
            return NO_ANSWER
        cut = fault is not None and fault.kind is FaultKind.CUT_BODY
        await send_answer(answer, send, cut=cut)
        return NO_ANSWER if cut else answer.status

    async def _answer(self, path: str, asked: Asked, request: Request, fault: Fault | None) -> Answer:
        """What is true at once, said when its time has come."""
        answer = await self._immediate(path, asked, request, fault)
        rules = self._world.live.now.api
        late_s = rules.latency_s + rules.jitter_s * self._random.random()
        if fault is not None and fault.kind is FaultKind.SLOW:
            late_s += fault.delay_s
        if late_s > 0:
            await asyncio.sleep(late_s)
        return answer

    async def _immediate(self, path: str, asked: Asked, request: Request, fault: Fault | None) -> Answer:
        if fault is not None and fault.kind in (FaultKind.HTML_502, FaultKind.NOT_JSON):
            return Answer(502 if fault.kind is FaultKind.HTML_502 else 200, BAD_GATEWAY, HTML_TYPE)
        try:
            self._check_token(asked, request)
            self._check_rate(path)
            if fault is not None:
                fault.refuse(self._world.live.now.api.auth_status)
            return Answer(200, orjson.dumps(await self._handlers.answer(path, asked)))
        except ApiError as error:
            after = () if error.retry_after_s is None else ((b"retry-after", b"%d" % error.retry_after_s),)
            return Answer(error.status, orjson.dumps({"code": error.code, "message": error.message}), headers=after)

    def _check_token(self, asked: Asked, request: Request) -> None:
        rules = self._world.live.now.api
        given = request.headers.get("authorization", "").encode("latin-1")
        if not given and rules.query_token:
            given = asked.query.get("access_token", "").encode()
        if not hmac.compare_digest(given, self._token):
            raise ApiError(WRONG_TOKEN, status=rules.auth_status)

    def _check_rate(self, path: str) -> None:
        rules = self._world.live.now.api
        wait_s = self._window.admit(rules.rate_per_s)
        if wait_s is None and path == UPDATES:
            wait_s = self._updates_window.admit(rules.updates_per_s)
        if wait_s is not None:
            says = rules.retry_after == "always" or (rules.retry_after == "sometimes" and self._random.random() < 0.5)
            raise ApiError("too.many.requests", retry_after_s=wait_s if says else None)


def _query(request: Request) -> dict[str, str]:
    text = request.scope["query_string"]
    return dict(parse_qsl(text.decode("latin-1"), keep_blank_values=True)) if text else {}


async def _unless_gone(request: Request, answering: Coroutine[Any, Any, Answer]) -> Answer | None:
    """None when the caller hung up meanwhile: after the body nothing else can be received."""
    answer, gone = asyncio.ensure_future(answering), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        answer.cancel()
        gone.cancel()
