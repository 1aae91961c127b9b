"""The target over HTTP. Its answers are data from outside: checked here, and never quoted in an error."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from chatferry.common.adapters.http import TooLargeError, post, retry_after_s
from chatferry.common.clock import Clock
from chatferry.common.contracts.target import LIST_LIMIT, NO_TARGET, CountAnswer, is_count
from chatferry.common.entities import Entity
from chatferry.common.errors import ConfigurationError, OutageError
from chatferry.common.telemetry.metrics import Metrics
from chatferry.verifier.domain.errors import ReadBackError
from chatferry.verifier.domain.lines import TargetItem, seq_of
from chatferry.verifier.ports import TargetPage

_LONGEST_WAIT_S = 60.0
_REFUSED = frozenset({401, 403, 404})
_BUSY = 429
_PAGE_BYTES = 4_194_304
_MOST_BYTES = 67_108_864


@dataclass(frozen=True, slots=True)
class TargetAddress:
    """`url` holds the secret. `ca_file`: PEM certificates to trust instead of the system's."""

    url: str
    ca_file: Path | None
    timeout_s: float
    lanes: int


def open_http(address: TargetAddress) -> httpx.AsyncClient:
    """A client with kept connections. Raises ConfigurationError when the CA file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=address.ca_file) if address.ca_file else True
    except (OSError, ssl.SSLError) as unusable:
        raise ConfigurationError(f"CHATFERRY_TARGET_CA_FILE: {address.ca_file} is no PEM file to be read") from unusable
    # Two connections a lane: one for the pages ahead, one for counts.
    limits = httpx.Limits(max_connections=2 * address.lanes + 2, max_keepalive_connections=2 * address.lanes + 2)
    return httpx.AsyncClient(verify=context, timeout=address.timeout_s, limits=limits, trust_env=False)


class _TooLongError(OutageError):
    """An answer that was not read to its end: there may be none."""


class HttpTarget:
    """The Target port. Raises OutageError when the target is away, ReadBackError when its answer is of no use."""

    def __init__(self, http: httpx.AsyncClient, url: str, page_size: int, metrics: Metrics, clock: Clock) -> None:
        self._http, self._url, self._page_size, self._metrics = http, url.rstrip("/"), page_size, metrics
        self._clock = clock
        self._item_bytes: dict[str, float] = {}

    async def page(self, entity: Entity, parent: str | None, after: str | None) -> TargetPage:
        body = {"entity": entity.name, "parent": parent, "after": after, "limit": self._limit(entity)}
        try:
            content = await self._ask(entity, "list", {name: told for name, told in body.items() if told is not None})
        except _TooLongError:
            self._weigh(entity.name, self._limit(entity), _MOST_BYTES)
            raise
        answer = _object(content, entity, "list")
        items, following = _items(entity, answer), answer.get("next")
        if following is not None and (not isinstance(following, str) or following == after):
            raise ReadBackError(f"the target's list of {entity.name} has a `next` that leads nowhere")
        self._weigh(entity.name, len(items), len(content))
        return TargetPage(items, following)

    def _limit(self, entity: Entity) -> int:
        """Fewer records after a page of large ones, and twice as many from page to page when they are small again."""
        fit = _PAGE_BYTES / max(self._item_bytes.get(entity.name, 0), 1)
        return max(1, min(self._page_size, int(fit)))

    def _weigh(self, entity: str, records: int, size: int) -> None:
        if records:
            self._item_bytes[entity] = max(size / records, self._item_bytes.get(entity, 0) / 2)

    async def get(self, entity: Entity, keys: Sequence[str]) -> dict[str, TargetItem]:
        found: dict[str, TargetItem] = {}
        for start in range(0, len(keys), LIST_LIMIT):
            asked = list(keys[start : start + LIST_LIMIT])
            answer = await self._call(entity, "get", {"entity": entity.name, "keys": asked})
            found.update({item.key: item for item in _items(entity, answer)})
        return found

    async def count(self, entity: Entity, parent: str | None = None) -> int:
        body = {"entity": entity.name} if parent is None else {"entity": entity.name, "parent": parent}
        content = await self._ask(entity, "count", body)
        if not is_count(content):
            raise OutageError("target", NO_TARGET)
        return CountAnswer.model_validate_json(content).count

    async def _call(self, entity: Entity, method: str, body: dict[str, Any]) -> dict[str, Any]:
        return _object(await self._ask(entity, method, body), entity, method)

    async def _ask(self, entity: Entity, method: str, body: dict[str, Any]) -> bytes:
        url = f"{self._url}/import.{entity.family}.{method}"
        headers = {"content-type": "application/json", "accept": "application/json"}
        with self._metrics.timed("target", method):
            try:
                within_s = self._http.timeout.read
                response = await post(
                    self._http, url, orjson.dumps(body), headers, within_s=within_s, at_most=_MOST_BYTES
                )
            except TooLargeError:
                sentence = f"the target's answer to {method} of {entity.name} is longer than {_MOST_BYTES} bytes"
                raise _TooLongError("target", sentence) from None
            except httpx.RequestError as away:
                raise OutageError("target", _sentence(away)) from None
        if response.status_code != httpx.codes.OK:
            wait_s = retry_after_s(response, self._clock.now(), _LONGEST_WAIT_S)
            raise _refusal(response.status_code, entity, method, wait_s)
        return response.content


def _object(content: bytes, entity: Entity, method: str) -> dict[str, Any]:
    """Raises OutageError for what no target says: a page of maintenance may stand in its place."""
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise OutageError("target", f"{NO_TARGET} (asked for {method} of {entity.name})") from None
    if not isinstance(answer, dict):
        raise ReadBackError(f"the target's answer to {method} of {entity.name} is not an object")
    return answer


def _refusal(status: int, entity: Entity, method: str, wait_s: float | None) -> OutageError | ReadBackError:
    if status in _REFUSED:
        return OutageError(
            "target",
            f"the target refuses {method} of {entity.name} (HTTP {status}): check the user, secret and path in "
            "CHATFERRY_TARGET_URL",
        )
    if status == _BUSY or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return OutageError("target", f"the target cannot serve now (HTTP {status})", retry_after_s=wait_s)
    return ReadBackError(f"the target answers {method} of {entity.name} with HTTP {status}")


def _sentence(away: httpx.RequestError) -> str:
    # An httpx error's own text may hold the URL, and so the secret.
    if isinstance(away.__cause__, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(away):
        return (
            "the target's certificate is signed by nobody trusted here: give its authority's file in "
            "CHATFERRY_TARGET_CA_FILE"
        )
    return f"the target cannot be reached ({type(away).__name__}); the verification goes on when it is back"


def _items(entity: Entity, answer: dict[str, Any]) -> list[TargetItem]:
    try:
        items = [
            TargetItem(item["key"], item["id"], seq_of(item["key"]), item["version"], item["hash"], item["data"])
            for item in answer["items"]
        ]
    except (KeyError, TypeError, AttributeError):
        raise ReadBackError(f"the target's list of {entity.name} has items that are not of the protocol") from None
    for item in items:
        texts = type(item.hash) is str and type(item.id) is str
        if not texts or type(item.version) is not int or type(item.data) is not dict:
            raise ReadBackError(f"the target's list of {entity.name} has items that are not of the protocol")
    return items
