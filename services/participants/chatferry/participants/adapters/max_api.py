"""The MAX Bot API over HTTP. The token stays in here; whatever is no answer about a chat never touches its count."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from chatferry.common.adapters.http import ON_THIS_MACHINE, retry_after_s
from chatferry.common.clock import Clock
from chatferry.common.errors import ConfigurationError, OutageError
from chatferry.participants.domain.counts import Answer, MaxChatId, Verdict
from chatferry.participants.domain.updates import READ_ALL, BrokenUpdateError, Update, read_update
from chatferry.participants.ports import MaxBusyError, MaxRefusedError, Membership, Ready, at_once

_POLL_S = 30
_LONGEST_WAIT_S = 3_600.0
# A connection that has to be made first takes longer than leave is valid.
_KEPT_S = 60.0
_INT32 = 2**31
_OF_A_DIALOG = 2
_AWAY = "MAX cannot be asked now ({}); what is known is served until it can"
_CERTIFICATE = "MAX's certificate is not trusted: name its authority in CHATFERRY_MAX_CA_FILE"
Failed = Callable[[str], None]
"""Told the kind of each call that brought no answer: connection, certificate, timeout, server, status, body, busy,
refused; and of each read that MAX refused for its chat: denied, not_found."""
# The codes by which MAX refuses a chat (reference: max-bot-api.md §1); that of a 404 is assumed there: so are its kin.
_DENIALS = ("chat.denied", "access.denied")
_UNKNOWN = re.compile(r"(?:[a-z]+\.)*not\.found")


@dataclass(frozen=True, slots=True)
class MaxAddress:
    """`answer_s`: longest wait for a whole answer. `connections`: more than 30 calls a second can keep busy."""

    url: str
    token: str = field(repr=False)
    ca_file: Path | None = None
    answer_s: float = 3.0
    connections: int = 100


class HttpMax:
    """Port `Max`, and `Polled`: long polling. A 401 or a refused token is MaxRefusedError, a 429 MaxBusyError; for all
    else that is no answer OutageError("max").
    """

    def __init__(
        self,
        settings: MaxAddress,
        clock: Clock,
        failed: Failed,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._answer_s, self._clock, self._failed = settings.answer_s, clock, failed
        most = settings.connections
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=_KEPT_S)
        self._http = httpx.AsyncClient(
            base_url=settings.url.rstrip("/"),
            verify=_trusted(settings),
            timeout=None,  # noqa: S113 - each call has one end for all of it
            limits=limits,
            headers={"authorization": settings.token, "accept": "application/json"},
            transport=transport,
            mounts=ON_THIS_MACHINE,
        )

    async def close(self) -> None:
        """Let the connections go."""
        await self._http.aclose()

    async def chat(self, chat: MaxChatId, ready: Ready = at_once) -> Answer:
        response = await self._ask("GET", f"/chats/{chat}", extensions={"trace": _before_sent(ready)})
        if response.status_code == httpx.codes.FORBIDDEN:
            self._failed("denied")
            return Answer(Verdict.DENIED)
        if response.status_code == httpx.codes.NOT_FOUND:
            self._failed("not_found")
            return Answer(Verdict.GONE)
        answer = _answer(self._body(response), chat, int(self._clock.now().timestamp() * 1_000))
        if answer is None:
            raise self._away("body")
        return answer

    async def membership(self, chat: MaxChatId, ready: Ready = at_once) -> Membership | None:
        response = await self._ask("GET", f"/chats/{chat}/members/me", extensions={"trace": _before_sent(ready)})
        if response.status_code != httpx.codes.OK:
            return None
        told = self._body(response)
        admin, permissions = told.get("is_admin"), told.get("permissions")
        if admin is True and isinstance(permissions, list):
            return Membership(READ_ALL in permissions)
        return Membership(trusted=False) if admin is False else None

    async def webhooks(self) -> int:
        """How many subscriptions there are, whoever made them."""
        return len(await self._subscriptions())

    async def subscribed(self, url: str, types: Collection[str]) -> bool:
        found = await self._subscriptions()
        return any(isinstance(one, dict) and one.get("url") == url and _covers(one, types) for one in found)

    async def _subscriptions(self) -> list[Any]:
        found = (await self._whole("GET", "/subscriptions")).get("subscriptions")
        if not isinstance(found, list):
            raise self._away("body")
        return found

    async def subscribe(self, url: str, secret: str, types: Sequence[str]) -> None:
        wanted = {"url": url, "secret": secret, "update_types": list(types)}
        if (await self._whole("POST", "/subscriptions", content=orjson.dumps(wanted))).get("success") is not True:
            raise self._away(
                "body", "MAX does not take the subscription: is CHATFERRY_MAX_WEBHOOK_URL https, port 443?"
            )

    async def updates(self, marker: int | None) -> tuple[Sequence[tuple[Update, bytes]], int | None]:
        """What has happened since the marker, waited for; asking with a marker gives up all before it.

        The marker to go on from; None when MAX named none. Events that are none of ours to read are left out.
        """
        params = {"timeout": str(_POLL_S)} | ({} if marker is None else {"marker": str(marker)})
        told = await self._whole("GET", "/updates", more_s=_POLL_S, params=params)
        found, following = told.get("updates"), told.get("marker")
        if not isinstance(found, list) or not (following is None or type(following) is int):
            raise self._away("body")
        return [one for each in found if (one := _event(each)) is not None], following

    async def _whole(self, method: str, path: str, *, more_s: float = 0, **asked: Any) -> Mapping[str, Any]:
        """The body of a call that has nothing to do with a chat."""
        response = await self._ask(method, path, more_s=more_s, **asked)
        if response.status_code != httpx.codes.OK:
            raise self._away("status")
        return self._body(response)

    async def _ask(self, method: str, path: str, *, more_s: float = 0, **asked: Any) -> httpx.Response:
        """200; or 403 and 404, when it is MAX that says so of what was asked about, and not a gateway before it."""
        try:
            async with asyncio.timeout(self._answer_s + more_s):
                response = await self._http.request(method, path, **asked)
        except TimeoutError:
            raise self._away("timeout") from None
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            # Nothing of it is passed on: httpx puts URLs and headers into what it raises.
            if _about_certificate(failure):
                raise self._away("certificate", _CERTIFICATE) from None
            raise self._away("connection") from None
        self._check(response)
        return response

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == httpx.codes.OK:
            return
        if status == httpx.codes.TOO_MANY_REQUESTS:
            self._failed("busy")
            raise MaxBusyError(retry_after_s(response, self._clock.now(), _LONGEST_WAIT_S))
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise self._away("server")
        if status not in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND):
            raise self._away("status")
        code = None if status == httpx.codes.UNAUTHORIZED else self._body(response).get("code")
        if status == httpx.codes.UNAUTHORIZED or code == "verify.token":
            self._failed("refused")
            raise MaxRefusedError
        if not _refuses(status, code):
            raise self._away("status")

    def _body(self, response: httpx.Response) -> Mapping[str, Any]:
        try:
            body = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            raise self._away("body") from None
        if not isinstance(body, dict):
            raise self._away("body")
        return body

    def _away(self, kind: str, sentence: str | None = None) -> OutageError:
        self._failed(kind)
        return OutageError("max", sentence or _AWAY.format(kind))


def _before_sent(ready: Ready) -> Callable[[str, Any], Awaitable[None]]:
    """For httpcore, which tells of each step of a call: this one comes when its connection is there."""

    async def traced(step: str, info: Any) -> None:
        del info
        if step == "http11.send_request_headers.started":
            await ready()

    return traced


def _refuses(status: int, code: Any) -> bool:
    """Whether a 403 or 404 has MAX's own form: a bot that was stopped and a gateway's page are about no chat."""
    if status == httpx.codes.FORBIDDEN:
        return code in _DENIALS
    return isinstance(code, str) and _UNKNOWN.fullmatch(code) is not None


def _answer(body: Mapping[str, Any], chat: MaxChatId, now_ms: int) -> Answer | None:
    """None when the body does not say what it has to: then nothing is known, rather than something wrong."""
    named, status, title = body.get("chat_id"), body.get("status"), body.get("title")
    if named is not None and named != chat:
        return None
    last_event_ms = body.get("last_event_time")
    # Nothing happens later than now, whatever MAX says; and no more than 64 bits can be kept.
    last_event_ms = min(last_event_ms, now_ms) if type(last_event_ms) is int and last_event_ms > 0 else None
    title = title if isinstance(title, str) else None
    # Beside the known ones (removed, left, closed, suspended): of a state that we do not know, no count is taken.
    if status is not None and status != "active":
        return Answer(Verdict.GONE, None, last_event_ms, title)
    count = _OF_A_DIALOG if body.get("type") == "dialog" else body.get("participants_count")
    if type(count) is not int or not 0 <= count < _INT32:
        return None
    return Answer(Verdict.COUNTED, count, last_event_ms, title)


def _covers(subscription: Mapping[str, Any], types: Collection[str]) -> bool:
    """Without a list it is for all types."""
    told = subscription.get("update_types")
    return not told or (isinstance(told, list) and all(one in told for one in types))


def _event(told: Any) -> tuple[Update, bytes] | None:
    body = orjson.dumps(told)
    try:
        return read_update(body), body
    except BrokenUpdateError:
        return None


def _trusted(settings: MaxAddress) -> ssl.SSLContext:
    if settings.ca_file is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(settings.ca_file))
    except (OSError, ssl.SSLError):
        raise ConfigurationError(
            f"CHATFERRY_MAX_CA_FILE: {settings.ca_file} cannot be read as certificates in PEM form"
        ) from None


def _about_certificate(failure: BaseException) -> bool:
    cause: BaseException | None = failure
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
