"""Calls to the portal: within its limits, retried where that helps, each refusal told apart (bitrix24.md §1 to §3)."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import orjson

from chatferry.common.adapters.http import TooLargeError, post
from chatferry.common.clock import Clock
from chatferry.common.entities.reading import Answer, Command, Refusal, map_of, rows_of
from chatferry.common.errors import BlockedError, OutageError
from chatferry.common.portal.bucket import Limits, RateBucket
from chatferry.common.portal.encoding import command_line, referred
from chatferry.common.portal.operating import BLOCK_STEP_S, Measured, measured
from chatferry.common.portal.webhook import Webhook
from chatferry.common.telemetry.metrics import Metrics

BATCH = 50
LARGEST_ANSWER = 32 * 1024 * 1024
"""Bytes of a batch's answer. It is held whole, several at a time, and parsed it is some times as large."""
ATTEMPTS_S = (0.0, 2.0, 6.0)
_TRANSIENT = frozenset(
    {"INTERNAL_SERVER_ERROR", "ERROR_UNEXPECTED_ANSWER", "QUERY_LIMIT_EXCEEDED", "OPERATION_TIME_LIMIT"}
)
_WEBHOOK_DEAD = {
    "INVALID_CREDENTIALS": "is not accepted (wrong user id or secret, or it was disabled)",
    "NO_AUTH_FOUND": "carries no usable credentials",
    "expired_token": "has expired",
    "authorization_error": "belongs to a user who cannot log in",
    "user_access_error": "belongs to a user without access",
    "OVERLOAD_LIMIT": "was blocked by Bitrix24; their support has to lift that",
    "PORTAL_DELETED": "belongs to a portal that is closed",
    "INVALID_REQUEST": "must be an https:// address",
}
# What stands in the place of a code may be words of the portal, or a telephone number: these are not repeated.
_CODE = re.compile(r"(?!(?:.*[0-9]){5})[A-Za-z][A-Za-z0-9_.-]{0,63}")
_LIGHT = frozenset({"profile", "scope", "server.time", "method.get"})
"""Answered at once: they add nothing to the operating time."""


_NOT_SENT = Refusal("portal.halved", transient=True, later_s=0.0)


class _NoAnswer(Exception):  # noqa: N818 - not an error of its own: it becomes an outage or a refusal
    """The call as a whole came to nothing: reset, time-out, 5xx, 429 of no known code, a body that is no JSON."""


class _TooLarge(_NoAnswer):
    """More commands were asked than an answer may carry."""


@dataclass(frozen=True, slots=True)
class PortalSettings:
    """`timeout_s`: each wait for more of an answer, a third of the whole; the cloud cuts at 60 s itself."""

    limits: Limits = field(default_factory=Limits)
    timeout_s: float = 70.0
    attempts_s: Sequence[float] = ATTEMPTS_S


class PortalClient:
    """All webhooks of one portal. There is none without a bucket."""

    def __init__(
        self, webhooks: Sequence[Webhook], http: httpx.AsyncClient, bucket: RateBucket, clock: Clock, metrics: Metrics
    ) -> None:
        self.webhooks = {webhook.user_id: webhook for webhook in webhooks}
        self._http, self._bucket, self._clock, self._metrics = http, bucket, clock, metrics
        metrics.show_nothing(("ok", "refused", "failed", "limited", "too_large"), metrics.portal_requests)
        self._settings = PortalSettings()
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret

    def with_settings(self, settings: PortalSettings) -> PortalClient:
        """Set time-outs and limits; returns itself."""
        self._settings = settings
        return self

    @property
    def host(self) -> str:
        """The portal's host, which may be shown."""
        return next(iter(self.webhooks.values())).host

    async def call(self, webhook: int, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        """One call outside a batch. Raises BlockedError for a dead webhook, OutageError when the portal is away."""
        for wait in self._settings.attempts_s:
            await self._pause(wait)
            try:
                body = await self._post(webhook, method, dict(params or {}))
            except _NoAnswer:
                continue
            if "error" in body:
                refusal = self._refusal(webhook, method, str(body["error"]))
                if refusal.transient and refusal.later_s is None:
                    continue
                return Answer(refusal=refusal)
            return Answer(body.get("result"), total=_count(body.get("total")), next=_count(body.get("next")))
        raise self._away()

    async def insist(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        """As `batch`; commands that are refused for a moment are asked again, as often as a call that fails."""
        answers: dict[str, Answer] = {}
        for wait in self._settings.attempts_s:
            left = [command for command in commands if _again(answers.get(command.label))]
            if not left:
                break
            await self._pause(wait)
            answers |= zip((command.label for command in left), await self.batch(webhook, left), strict=True)
        return [answers[command.label] for command in commands]

    async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        """Up to 50 commands in one request; one answer each, in their order.

        Of each method the first commands are sent, as many as its operating time carries (later ones may refer to
        earlier ones); the others are to be asked for later. Raises BlockedError, OutageError.
        """
        for attempt, wait in enumerate(self._settings.attempts_s):
            await self._pause(wait)
            if attempt:
                self._count_again(commands)
            try:
                return await self._ask(webhook, commands)
            except _TooLarge:
                return await self._halved(webhook, commands)
            except _NoAnswer:
                continue
        if not await self._alive(webhook):
            raise self._away()
        if len(commands) == 1:
            return [Answer(refusal=Refusal("portal.no_answer", transient=True))]
        return await self._halved(webhook, commands)

    async def _halved(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        """In two requests. What refers to the first one's answers has to be asked anew: there they are not known."""
        half = len(commands) // 2
        apart, away = [], {command.label for command in commands[:half]}
        for command in commands[half:]:
            if away.isdisjoint(referred(command)):
                apart.append(command)
            else:
                away.add(command.label)
        answers: dict[str, Answer] = {}
        for part in (commands[:half], apart):
            if part:
                answers |= zip((one.label for one in part), await self.batch(webhook, part), strict=True)
        return [answers.get(one.label) or Answer(refusal=_NOT_SENT) for one in commands]

    async def _ask(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        """One request. Raises _NoAnswer when it came to nothing, or is better asked again as a whole."""
        wanted = Counter(command.method for command in commands if command.method not in _LIGHT)
        reservation = await self._bucket.reserve(webhook, wanted)
        free = reservation.allowed(commands)
        told: dict[str, Measured] = {}
        try:
            answers = await self._send(webhook, free, told) if free else {}
        finally:
            # Whatever became of the request: what it may have spent is not free any more.
            await self._bucket.settle(webhook, reservation, told)
        return [answers.get(one.label) or _later(reservation.later[one.method]) for one in commands]

    async def _send(self, webhook: int, commands: Sequence[Command], told: dict[str, Measured]) -> dict[str, Answer]:
        params = {"halt": 0, "cmd": {command.label: command_line(command) for command in commands}}
        # The answer to one command is what it is: a page cannot be had in parts.
        body = await self._post(webhook, "batch", params, LARGEST_ANSWER if len(commands) > 1 else None)
        if "error" in body:
            refusal = self._refused_whole(webhook, str(body["error"]), body.status)
            return {command.label: Answer(refusal=refusal) for command in commands}
        result = map_of(body.get("result"))
        told.update(measured(commands, map_of(result.get("result_time")), map_of(result.get("result_error"))))
        answers = self._split(webhook, commands, result)
        return {label: replace(answer, size=body.size // len(commands)) for label, answer in answers.items()}

    def _split(self, webhook: int, commands: Sequence[Command], body: Mapping[str, Any]) -> dict[str, Answer]:
        results, errors = map_of(body.get("result")), map_of(body.get("result_error"))
        totals, nexts = map_of(body.get("result_total")), map_of(body.get("result_next"))
        answers = {}
        for command in commands:
            label = command.label
            if label in errors:
                refusal = self._refusal(webhook, command.method, str(map_of(errors[label]).get("error", "")))
                answers[label] = Answer(refusal=refusal)
            elif label in results:
                answers[label] = Answer(results[label], total=_count(totals.get(label)), next=_count(nexts.get(label)))
            else:
                answers[label] = Answer(refusal=Refusal("portal.no_answer", transient=True))
        return answers

    async def _post(self, webhook: int, method: str, params: Mapping[str, Any], at_most: int | None = None) -> _Body:
        while True:
            await self._bucket.take()
            body = await self._request(webhook, method, params, at_most)
            if body.get("error") != "QUERY_LIMIT_EXCEEDED":
                return body
            self._metrics.portal_requests.labels("limited").inc()
            await self._bucket.fill()

    async def _request(self, webhook: int, method: str, params: Mapping[str, Any], at_most: int | None) -> _Body:
        url = f"{self.webhooks[webhook].base}/{method}"
        try:
            with self._metrics.timed("portal", "batch" if method == "batch" else "single"):
                headers = {"content-type": "application/json", "accept": "application/json"}
                body, timeout_s = orjson.dumps(params), self._settings.timeout_s
                limits = {"timeout_s": timeout_s, "within_s": 3 * timeout_s}
                response = await post(self._http, url, body, headers, **limits, at_most=at_most)
        except TooLargeError:
            self._metrics.portal_requests.labels("too_large").inc()
            raise _TooLarge from None
        except httpx.HTTPError as failure:
            self._metrics.portal_requests.labels("failed").inc()
            if "CERTIFICATE_VERIFY_FAILED" in str(failure):
                raise BlockedError(
                    f"the portal {self.host} shows a certificate that is not trusted; "
                    "give its CA in CHATFERRY_PORTAL_CA_FILE"
                ) from None
            raise _NoAnswer from None
        answer = _json(response.content, response.status_code)
        self._metrics.portal_requests.labels("ok" if "error" not in answer else "refused").inc()
        if response.status_code >= 400 and "error" not in answer:
            raise _NoAnswer
        return answer

    def _refusal(self, webhook: int, method: str, code: str) -> Refusal:
        if code in _WEBHOOK_DEAD:
            raise BlockedError(
                f"the webhook of user {webhook} at {self.host} {_WEBHOOK_DEAD[code]}; give a working one"
            )
        if code == "OPERATION_TIME_LIMIT":
            return Refusal(code, transient=True, later_s=BLOCK_STEP_S)
        if code == "insufficient_scope":
            raise BlockedError(
                f"the webhook of user {webhook} at {self.host} lacks the scope of {method}; add it in the portal"
            )
        return Refusal(_plain(code), transient=code in _TRANSIENT)

    def _refused_whole(self, webhook: int, code: str, status: int) -> Refusal:
        """For a batch of which no command was looked at: no chat may be blamed. Raises _NoAnswer, BlockedError."""
        refusal = self._refusal(webhook, "batch", code)
        if refusal.later_s is not None:
            return refusal
        if refusal.transient or status >= 500 or status == httpx.codes.TOO_MANY_REQUESTS:
            raise _NoAnswer
        raise BlockedError(
            f"the portal {self.host} refuses all requests of the webhook of user {webhook}"
            f" ({refusal.code}, HTTP {status}); see there that its plan has the REST API and that this user may use it"
        )

    async def _alive(self, webhook: int) -> bool:
        try:
            return "result" in await self._post(webhook, "server.time", {})
        except _NoAnswer:
            return False

    def _count_again(self, commands: Sequence[Command]) -> None:
        for entity, count in Counter(one.entity for one in commands if one.entity is not None).items():
            self._metrics.retries.labels(entity).inc(count)

    async def _pause(self, seconds: float) -> None:
        if seconds:
            await self._clock.sleep(seconds * self._rng.uniform(0.8, 1.2))

    def _away(self) -> OutageError:
        return OutageError("portal", f"the portal {self.host} does not answer; reading goes on when it does")


class _Body(dict[str, Any]):
    """An answer's JSON object. `size`: its length in bytes. `status`: of HTTP."""

    def __init__(self, content: Mapping[str, Any], size: int, status: int) -> None:
        super().__init__(content)
        self.size, self.status = size, status


def _json(content: bytes, status: int) -> _Body:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            # Lone surrogates are valid in JSON's grammar, and portals send them; orjson refuses them.
            body = json.loads(content)
        except ValueError:
            raise _NoAnswer from None
    if not isinstance(body, Mapping):
        raise _NoAnswer
    return _Body(body, len(content), status)


def _plain(code: str) -> str:
    return code if _CODE.fullmatch(code) else "portal.error"


def _again(answer: Answer | None) -> bool:
    return answer is None or (answer.refusal is not None and answer.refusal.transient)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _later(seconds: float) -> Answer:
    return Answer(refusal=Refusal("OPERATION_TIME_LIMIT", transient=True, later_s=seconds))


def scopes_of(answer: Answer) -> set[str]:
    """The scopes in an answer of `scope`."""
    return {scope for scope in rows_of(answer.result) if isinstance(scope, str)}
