"""Answers that are not 200.

```text
RefusedCallError   a call the target will not do; carries status and code of the protocol
ForeignMarkError   (domain) a list's `after` that is no mark of it   → 400
AnswerTooLargeError (ports) more than one answer can hold            → 400
OutageError        (common) MongoDB is away                          → 503
```
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import orjson
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from chatferry.common.contracts.target import TargetError
from chatferry.common.errors import OutageError

RETRY_AFTER_S: Final = 2
_MOST_FAULTS: Final = 5
_AWAY = "The target's database is away; nothing of this call is promised. Send the same call again later."


class RefusedCallError(Exception):
    """The whole call is refused. The sentence says what and what to do; nothing of the input is in it."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence


def bad_request(code: str, sentence: str) -> RefusedCallError:
    """A call that will never be accepted as it is."""
    return RefusedCallError(400, code, sentence)


def error_answer(status: int, code: str, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """A `TargetError`."""
    body = TargetError(error=code, error_description=sentence).model_dump()
    return Response(orjson.dumps(body), status, dict(headers) if headers else None, "application/json")


def away_answer() -> Response:
    """503: MongoDB cannot serve now."""
    return error_answer(503, "TEMPORARILY_UNAVAILABLE", _AWAY, {"retry-after": str(RETRY_AFTER_S)})


async def answer_refused(_: Request, refusal: Exception) -> Response:
    """A refused call. The connection of a body that was not read to its end is closed."""
    assert isinstance(refusal, RefusedCallError)
    headers = {"connection": "close"} if refusal.status == 413 else None
    return error_answer(refusal.status, refusal.code, refusal.sentence, headers)


async def answer_outage(_: Request, away: Exception) -> Response:
    """A part was found away while the call was on its way."""
    assert isinstance(away, OutageError)
    return away_answer()


async def answer_gone(_: Request, gone: Exception) -> Response:
    """The client left before its body was in: nothing was done, and nobody reads this."""
    assert isinstance(gone, ClientDisconnect)
    return error_answer(400, "INVALID_REQUEST", "the body was not sent to its end")


async def answer_http(_: Request, wrong: Exception) -> Response:
    """Paths and verbs that the target does not have."""
    assert isinstance(wrong, HTTPException)
    if wrong.status_code == 405:
        return error_answer(405, "METHOD_NOT_ALLOWED", "Send a POST.", wrong.headers)
    return error_answer(wrong.status_code, "ERROR_METHOD_NOT_FOUND", "Method not found!")


async def answer_fault(_: Request, __: Exception) -> Response:
    """A fault of the target itself; it is logged where it happened."""
    return error_answer(500, "INTERNAL", "The target met a fault of its own; its log has the place.")


def invalid(wrong: ValidationError, model: type[BaseModel]) -> RefusedCallError:
    """The refusal of a body that does not have the form of a model."""
    if any(error["type"] == "json_invalid" for error in wrong.errors(include_input=False, include_context=False)):
        return bad_request("INVALID_REQUEST", "The body is not valid JSON in UTF-8.")
    return bad_request("INVALID_REQUEST", faults(wrong, model))


def faults(wrong: ValidationError, *models: type[BaseModel]) -> str:
    """What is wrong and where, in one sentence; names of the models' own fields only, nothing that was sent."""
    known = frozenset().union(*map(_names, models))
    errors = wrong.errors(include_input=False, include_url=False, include_context=False)
    parts = [f"{_place(error['loc'], known)}: {error['msg']}" for error in errors[:_MOST_FAULTS]]
    more = f"; and {len(errors) - _MOST_FAULTS} more" if len(errors) > _MOST_FAULTS else ""
    return "; ".join(parts) + more


def _place(loc: Iterable[int | str], known: frozenset[str]) -> str:
    return ".".join(str(part) if isinstance(part, int) or part in known else "(an unknown field)" for part in loc)


@lru_cache(maxsize=32)
def _names(model: type[BaseModel]) -> frozenset[str]:
    """Every property name in the model's schema, nested ones too."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return frozenset(name for part in parts for name in part.get("properties", {}))
