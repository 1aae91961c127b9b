"""A control interface over HTTP: functions called with JSON, refusals said as `{"error": sentence}`."""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, get_args, get_origin

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]
Dump = Callable[[Any], bytes]
Load = Callable[[bytes], Any]


class UnknownError(LookupError):
    """What was asked about is not there; the text says which. Answered with 404."""


class ControlApp(Starlette):
    """Routes as (path below /control, verb, handler); a ValueError is answered with 400."""

    def __init__(self, routes: Iterable[tuple[str, str, Handler]], dump: Dump) -> None:
        def said(error: Exception | str, status: int) -> Response:
            return Response(dump({"error": str(error)}), status, media_type="application/json")

        async def refusal(_request: Request, error: Exception) -> Response:
            assert isinstance(error, HTTPException)
            return said(error.detail, error.status_code)

        async def bad_input(_request: Request, error: Exception) -> Response:
            return said(error, 400)

        async def unknown(_request: Request, error: Exception) -> Response:
            return said(error, 404)

        super().__init__(
            routes=[Route(f"/control{path}", handler, methods=[verb]) for path, verb, handler in routes],
            exception_handlers={HTTPException: refusal, ValueError: bad_input, UnknownError: unknown},
        )


async def json_object(request: Request, load: Load) -> dict[str, Any]:
    """The body, {} where there is none; raises ValueError when it is not a JSON object."""
    text = await request.body()
    try:
        value = load(text) if text else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("the body must be a JSON object")
    return value


def call_with(function: Callable[..., Any], body: dict[str, Any]) -> Any:
    """The body as keyword arguments; raises ValueError for missing, unknown and wrongly typed ones."""
    signature = inspect.signature(function)
    try:
        signature.bind(**body)
    except TypeError as error:
        raise ValueError(f"{error}; wanted: {', '.join(signature.parameters)}") from error
    for name, value in body.items():
        _check_type(name, value, signature.parameters[name].annotation)
    return function(**body)


def _check_type(name: str, value: Any, wanted: Any) -> None:
    kinds: tuple[type, ...] = (list,) if get_origin(wanted) is list else get_args(wanted) or (wanted,)
    if float in kinds:
        kinds += (int,)
    if any(issubclass(kind, str) for kind in kinds):
        kinds += (str,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{name} must be {' or '.join(kind.__name__ for kind in kinds)}")
