"""A function called with a JSON object, for control interfaces."""

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin


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
