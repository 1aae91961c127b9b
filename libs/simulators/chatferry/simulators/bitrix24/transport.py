"""`/rest/{user}/{secret}/{method}` over ASGI: from bytes to a call and back, faults of the wire included."""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from chatferry.simulators.bitrix24 import envelope, jsontext
from chatferry.simulators.bitrix24.batch import run_batch
from chatferry.simulators.bitrix24.engine import BATCH, Engine
from chatferry.simulators.bitrix24.errors import PortalError
from chatferry.simulators.bitrix24.faults import Fault, FaultKind
from chatferry.simulators.bitrix24.limits import LeakyBuckets
from chatferry.simulators.bitrix24.params import Params, nest, parse_query
from chatferry.simulators.wire import BAD_GATEWAY, HTML_TYPE, Answer, reset, send_answer


@dataclass(frozen=True, slots=True)
class RestCall:
    webhook_key: str
    method: str


class RestApp:
    """ASGI application of the portal's classic REST interface. `auth_status` and `https_required` may be switched."""

    def __init__(self, engine: Engine, buckets: LeakyBuckets, auth_status: int, https_required: bool) -> None:
        self.auth_status = auth_status
        self.https_required = https_required
        self.buckets = buckets
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        rest = read_path(scope["path"])
        statistics = self._engine.statistics
        statistics.requests[rest.method if rest else "?"] += 1
        statistics.last_request_at = self._engine.clock()
        if statistics.first_request_at is None:
            statistics.first_request_at = statistics.last_request_at
        fault = self._engine.faults.request(rest.method, statistics.faults) if rest else None
        params = await read_params(request)
        if fault is not None and fault.kind is FaultKind.RESET:
            reset(scope)
            return
        if fault is not None and fault.kind is FaultKind.SLOW:
            await asyncio.sleep(fault.delay_s)
        cut = fault is not None and fault.kind is FaultKind.CUT_BODY
        await send_answer(self._answer(scope, rest, params, fault), send, cut=cut)

    def _answer(self, scope: Scope, rest: RestCall | None, params: Params, fault: Fault | None) -> Answer:
        if fault is not None and fault.kind is FaultKind.HTML_502:
            return Answer(502, BAD_GATEWAY, HTML_TYPE)
        try:
            if self.https_required and scope["scheme"] == "http":
                raise PortalError("INVALID_REQUEST")
            if fault is not None and fault.kind is FaultKind.QUERY_LIMIT:
                raise PortalError("QUERY_LIMIT_EXCEEDED")
            if not self.buckets.admit(scope["client"][0] if scope.get("client") else ""):
                raise PortalError("QUERY_LIMIT_EXCEEDED")
            if rest is None:
                raise PortalError("ERROR_METHOD_NOT_FOUND")
            return Answer(200, self._call(rest, params))
        except PortalError as error:
            self._engine.statistics.errors[error.code] += 1
            return Answer(error.status(self.auth_status), envelope.failure(error))

    def _call(self, rest: RestCall, params: Params) -> bytes:
        engine = self._engine
        webhook = engine.authorize(rest.method, rest.webhook_key)
        if rest.method == BATCH:
            engine.faults.refuse(BATCH, engine.statistics.faults)
            started_at = engine.clock()
            body = run_batch(engine, webhook, params)
            return envelope.success(body, b"", engine.stamp.time(started_at, engine.clock(), None))
        done = engine.call(webhook, rest.method, params)
        time = engine.stamp.time(done.started_at, done.finished_at, done.operating)
        return envelope.success(done.reply.body, envelope.paging(done.reply.next, done.reply.total), time)


def read_path(path: str) -> RestCall | None:
    """None when the path is not `/rest/{user}/{secret}/{method}`."""
    parts = path.strip("/").split("/")
    if len(parts) != 4 or parts[0] != "rest":
        return None
    return RestCall(f"{parts[1]}/{parts[2]}", parts[3].lower().removesuffix(".json"))


async def read_params(request: Request) -> Params:
    """Query and body merged, the body wins; a body that cannot be read is as if it were not there."""
    query = request.scope["query_string"]
    params = parse_query(query.decode("latin-1")) if query else {}
    if request.method != "POST":
        return params
    return params | await _body_params(request)


async def _body_params(request: Request) -> Params:
    content_type = request.headers.get("content-type", "").lower()
    if content_type.startswith("multipart/form-data"):
        try:
            form = await request.form()
        except MultiPartException:
            return {}
        return nest([(key, value) for key, value in form.multi_items() if isinstance(value, str)])
    body = await request.body()
    if content_type.startswith("application/x-www-form-urlencoded"):
        return parse_query(body.decode("utf-8", "replace"))
    return _json_params(body)


def _json_params(body: bytes) -> Params:
    """Positional parameters, a JSON list, become the keys 0, 1, 2."""
    try:
        value: Any = jsontext.load(body) if body else {}
    except ValueError:
        return {}
    if isinstance(value, list):
        return {str(index): item for index, item in enumerate(value)}
    return value if isinstance(value, dict) else {}
