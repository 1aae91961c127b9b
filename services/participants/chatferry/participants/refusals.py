"""Answers that are not 200: `{"error": {"code", "message"}}`, one sentence, and nothing of what was sent in it.

```text
RefusedCallError   a call that the service will not do; carries status and code
BrokenCursorError  (domain) a cursor of another query, or of nobody   → 400
OutageError        (common) a part is away that the call cannot do without → 503
```
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from chatferry.common.errors import OutageError
from chatferry.participants.domain.pages import BrokenCursorError

RETRY_AFTER_S: Final = 1


class RefusedCallError(Exception):
    """The whole call is refused. The sentence says what is wrong and what to do."""

    def __init__(self, status: int, code: str, sentence: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence
        self.retry_after_s = retry_after_s


def unreadable(sentence: str) -> RefusedCallError:
    """A parameter or a body that will never be accepted as it is."""
    return RefusedCallError(422, "INVALID_REQUEST", sentence)


def not_yet() -> RefusedCallError:
    """The list of chats has not been read since the start."""
    return RefusedCallError(
        503, "UNAVAILABLE", "The chats have not been read yet: ask again in a moment.", retry_after_s=RETRY_AFTER_S
    )


def error_answer(status: int, code: str, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """The one form of errors."""
    body = orjson.dumps({"error": {"code": code, "message": sentence}})
    return Response(body, status, dict(headers) if headers else None, "application/json")


async def answer_refused(_: Request, refusal: Exception) -> Response:
    """A refused call. The connection of a body that was not read to its end is closed."""
    assert isinstance(refusal, RefusedCallError)
    headers = {"connection": "close"} if refusal.status == 413 else {}
    if refusal.retry_after_s is not None:
        headers["retry-after"] = str(refusal.retry_after_s)
    return error_answer(refusal.status, refusal.code, refusal.sentence, headers)


async def answer_cursor(_: Request, broken: Exception) -> Response:
    """A cursor of another query, or of nobody."""
    assert isinstance(broken, BrokenCursorError)
    return error_answer(400, "BROKEN_CURSOR", "The cursor is not of this query: begin again without it.")


async def answer_outage(_: Request, away: Exception) -> Response:
    """A part was found away while the call was on its way."""
    assert isinstance(away, OutageError)
    sentence = "A part of the service is away; nothing of this call is promised. Send the same call again later."
    return error_answer(503, "UNAVAILABLE", sentence, {"retry-after": str(RETRY_AFTER_S)})


async def answer_gone(_: Request, gone: Exception) -> Response:
    """The client left before its body was in: nothing was done, and nobody reads this."""
    assert isinstance(gone, ClientDisconnect)
    return error_answer(400, "INVALID_REQUEST", "The body was not sent to its end.")


async def answer_http(_: Request, wrong: Exception) -> Response:
    """Paths and verbs that the service does not have."""
    assert isinstance(wrong, HTTPException)
    if wrong.status_code == 405:
        return error_answer(405, "METHOD_NOT_ALLOWED", "This path takes another method.", wrong.headers)
    return error_answer(wrong.status_code, "NOT_FOUND", "There is nothing here.", wrong.headers)


async def answer_fault(_: Request, __: Exception) -> Response:
    """A fault of the service itself; it is logged where it happened."""
    return error_answer(500, "INTERNAL", "The service met a fault of its own; its log has the place.")
