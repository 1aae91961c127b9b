"""Who may call, and how much is held at once."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import Request

from chatferry.chat.refusals import RefusedCallError


@dataclass(frozen=True, slots=True)
class Access:
    """The webhook's user and every secret that opens it."""

    user: bytes
    secrets: tuple[bytes, ...]

    def check(self, user: str, secret: str) -> None:
        """Raises RefusedCallError (401). Takes as long for a wrong user as for a wrong secret."""
        opens = hmac.compare_digest(user.encode(), self.user)
        given = secret.encode()
        known = False
        for one in self.secrets:
            known |= hmac.compare_digest(given, one)
        if not (opens and known):
            raise RefusedCallError(401, "INVALID_CREDENTIALS", "The webhook's user or secret is wrong.")


@dataclass(slots=True)
class Bodies:
    """Keeps the bodies in memory below `most` bytes in all, so that many large calls at once need no more memory."""

    each: int
    most: int
    _held: int = 0
    _freed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The request's body, held as long as the block runs.

        Raises RefusedCallError (413) as soon as it is known to be too large, ClientDisconnect when it ends too early.
        """
        size = self._announced(request)
        async with self._freed:
            await self._freed.wait_for(lambda: self._held + size <= self.most)
            self._held += size
        try:
            yield await self._read(request)
        finally:
            async with self._freed:
                self._held -= size
                self._freed.notify_all()

    def _announced(self, request: Request) -> int:
        length = request.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            return self.each
        if len(length) > 18 or int(length) > self.each:
            raise self._too_large()
        return int(length)

    async def _read(self, request: Request) -> bytes:
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self.each:
                raise self._too_large()
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _too_large(self) -> RefusedCallError:
        return RefusedCallError(413, "BODY_TOO_LARGE", f"A body may have {self.each} bytes: send smaller batches.")
