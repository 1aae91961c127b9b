"""Parameters as PHP reads them: bracket keys, merged sources, loose booleans and numbers."""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

Params = dict[str, Any]

_BRACKETS = re.compile(r"\[([^\]]*)\]")


def parse_query(text: str) -> Params:
    """`filter[>ID]=1&ids[]=2` as nested dicts; dicts with the keys 0..n as lists. Lone surrogates never arise."""
    return nest(parse_qsl(text, keep_blank_values=True, errors="replace"))


def nest(pairs: Iterable[tuple[str, str]]) -> Params:
    result: Params = {}
    bracketed = False
    for key, value in pairs:
        opening = key.find("[")
        if opening < 1:
            result[key] = value
            continue
        bracketed = True
        _put(result, [key[:opening], *_BRACKETS.findall(key[opening:])], value)
    if not bracketed:
        return result
    return {key: _listed(value) for key, value in result.items()}


def _put(target: Params, path: list[str], value: str) -> None:
    for part in path[:-1]:
        inner = target.get(part) if part else None
        if not isinstance(inner, dict):
            inner = {}
            target[part or _next_index(target)] = inner
        target = inner
    target[path[-1] or _next_index(target)] = value


def _next_index(target: Params) -> str:
    taken = [int(key) for key in target if key.isdecimal()]
    return str(max(taken) + 1) if taken else "0"


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(item) for key, item in value.items()}
    if list(inner) == [str(index) for index in range(len(inner))]:
        return list(inner.values())
    return inner


def upper_keys(params: Params) -> Params:
    return {key.upper(): value for key, value in params.items()}


def as_int(value: Any, default: int | None = None) -> int | None:
    """PHP's `(int)` for what looks like a number; `default` for all else."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
        return int(value)
    return default


def is_yes(value: Any) -> bool:
    """How `im.*` and `user.get` read flags: true, 1, "1", "true", "Y"."""
    return value is True or (isinstance(value, int | str) and str(value).upper() in {"1", "TRUE", "Y"})


def php_true(value: Any) -> bool:
    """PHP truthiness: the string "false" is true, "0" is not."""
    return value not in (None, False, 0, 0.0, "", "0", [], {})


def as_list(value: Any) -> list[Any]:
    """A list, the values of a map, or a single value as a list of one; None gives an empty list."""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return list(value.values())
    return [value]
