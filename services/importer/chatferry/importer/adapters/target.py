"""The target over HTTP: one keep-alive pool, one JSON text per batch; the secret in its URL stays in here."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx
import orjson
from pydantic import ValidationError

from chatferry.common.adapters.http import TooLargeError, post, retry_after_s
from chatferry.common.clock import Clock
from chatferry.common.contracts.target import ANSWER_BYTES, NO_TARGET, ImportAnswer, ItemResult, is_count
from chatferry.common.entities import Entity
from chatferry.common.errors import ConfigurationError
from chatferry.common.telemetry.traces import current_traceparent
from chatferry.importer.domain.records import ImportRecord
from chatferry.importer.ports import CallFailedError, Trouble

_LONGEST_WAIT_S = 3_600.0
_DENIED = {
    401: "the target does not know this user and secret: correct the target's URL",
    403: "the target does not allow this user to import: grant the right to import at the target",
    404: "the target has no import method at this URL: correct the target's URL, or update the target",
}


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """`url` is the full …/rest/{user}/{secret}. `answer_s`: from the beginning of a call to its last byte, once there
    is a connection.
    """

    url: str
    ca_file: Path | None = None
    connect_s: float = 5.0
    answer_s: float = 30.0
    connections: int = 8


class HttpTarget:
    """Port `Target`."""

    def __init__(self, settings: HttpSettings, clock: Clock, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport`: in place of connections of its own."""
        self._url = settings.url.rstrip("/")
        self._clock, self._within_s = clock, settings.connect_s + settings.answer_s
        self._client = httpx.AsyncClient(
            transport=transport,
            verify=_trusted(settings),
            http2=False,
            trust_env=False,
            timeout=httpx.Timeout(settings.answer_s, connect=settings.connect_s),
            limits=httpx.Limits(max_connections=settings.connections, max_keepalive_connections=settings.connections),
            headers={"content-type": "application/json", "accept": "application/json"},
        )

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()

    async def send(self, entity: Entity, records: Sequence[ImportRecord]) -> list[ItemResult]:
        items = [{"key": r.key, "version": r.version, "hash": r.hash, "data": orjson.Fragment(r.body)} for r in records]
        body = orjson.dumps({"entity": entity.name, "items": items})
        content = await self._post(f"import.{entity.family}.batch", body)
        try:
            results = ImportAnswer.model_validate_json(content).results
        except ValidationError:
            raise _no_answer() from None
        if [result.key for result in results] != [record.key for record in records]:
            raise _no_answer()
        return results

    async def probe(self, entity: Entity) -> None:
        content = await self._post(f"import.{entity.family}.count", orjson.dumps({"entity": entity.name}))
        if not is_count(content):
            raise CallFailedError(Trouble.SHAKY, "target.protocol", NO_TARGET)

    async def _post(self, method: str, body: bytes) -> bytes:
        traceparent = current_traceparent()
        headers = {"traceparent": traceparent} if traceparent else None
        try:
            url, within_s = f"{self._url}/{method}", self._within_s
            response = await post(self._client, url, body, headers, within_s=within_s, at_most=ANSWER_BYTES)
        except TooLargeError:
            raise _no_answer() from None
        except httpx.RequestError as failure:
            _raise_unreachable(failure)
        if response.status_code != httpx.codes.OK:
            raise _refusal(response, retry_after_s(response, self._clock.now(), _LONGEST_WAIT_S))
        return response.content


def _trusted(settings: HttpSettings) -> ssl.SSLContext:
    if settings.ca_file is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(settings.ca_file))
    except (OSError, ssl.SSLError):
        raise ConfigurationError(
            f"CHATFERRY_TARGET_CA_FILE: {settings.ca_file} cannot be read as certificates in PEM form"
        ) from None


def _raise_unreachable(failure: httpx.RequestError) -> NoReturn:
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise CallFailedError(
                Trouble.DENIED,
                "target.certificate",
                "the target's certificate is not trusted: name its authority in CHATFERRY_TARGET_CA_FILE",
            ) from None
        cause = cause.__cause__ or cause.__context__
    # Only the type: httpx puts the whole URL into some of its texts.
    kind = type(failure).__name__
    raise CallFailedError(Trouble.SHAKY, "target.unreachable", f"the target cannot be reached ({kind})") from None


def _refusal(response: httpx.Response, wait: float | None) -> CallFailedError:
    status = response.status_code
    code = f"target.http_{status}"
    if status in _DENIED:
        return CallFailedError(Trouble.DENIED, code, _DENIED[status])
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return CallFailedError(Trouble.THROTTLED, code, "the target asks for fewer calls", wait or 1.0)
    if status in (400, 413, 422):
        return CallFailedError(Trouble.REFUSED, code, f"the target refuses the batch ({status})")
    return CallFailedError(Trouble.SHAKY, code, f"the target answers {status}", wait)


def _no_answer() -> CallFailedError:
    return CallFailedError(Trouble.SHAKY, "target.protocol", "the target's answer does not fit the records sent")
