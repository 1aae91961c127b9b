"""Who may call, how often, and how large a body may be."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from chatferry.common.clock import Clock
from chatferry.common.errors import ConfigurationError
from chatferry.participants.refusals import RefusedCallError


class Keys:
    """Every key that opens the API. Raises ConfigurationError when there is none."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ConfigurationError("CHATFERRY_API_KEYS (or its file) is empty")
        self._digests = [_digest(key) for key in keys]

    def check(self, given: str | None) -> int:
        """Which key it is. Raises RefusedCallError (401), after as long whichever key is nearly right."""
        digest, found = _digest(given or ""), -1
        for index, one in enumerate(self._digests):
            if hmac.compare_digest(digest, one):
                found = index
        if given is None or found < 0:
            raise RefusedCallError(401, "INVALID_KEY", "Send a valid key in the header X-Api-Key.")
        return found


@dataclass(slots=True)
class Rates:
    """A bucket of one second's requests for each key, in this replica."""

    per_second: int
    clock: Clock
    _buckets: dict[int, tuple[float, float]] = field(default_factory=dict)

    def take(self, key: int) -> None:
        """One request. Raises RefusedCallError (429) that says when there is room again."""
        now = self.clock.monotonic()
        left, at = self._buckets.get(key, (float(self.per_second), now))
        left = min(float(self.per_second), left + (now - at) * self.per_second)
        if left < 1:
            self._buckets[key] = left, now
            wait_s = max(1, math.ceil((1 - left) / self.per_second))
            sentence = f"This key may send {self.per_second} requests a second: slow down."
            raise RefusedCallError(429, "TOO_MANY_REQUESTS", sentence, retry_after_s=wait_s)
        self._buckets[key] = left - 1, now


@dataclass(frozen=True, slots=True)
class Secret:
    """What MAX has to send with its events."""

    value: str

    def check(self, given: str | None) -> None:
        """Raises RefusedCallError (401)."""
        if not hmac.compare_digest(_digest(given or ""), _digest(self.value)) or given is None:
            raise RefusedCallError(401, "INVALID_SECRET", "The header X-Max-Bot-Api-Secret is wrong.")


async def read_body(request: Request, most: int) -> bytes:
    """Raises RefusedCallError (413) as soon as it is known to be too large, ClientDisconnect when it ends too early."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > most):
        raise _too_large(most)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(most: int) -> RefusedCallError:
    return RefusedCallError(413, "BODY_TOO_LARGE", f"A body may have {most} bytes: send a smaller one.")


def _digest(text: str) -> bytes:
    """Of one length, whatever was sent."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
