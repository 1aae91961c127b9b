"""PHP's way to write nested parameters, as `batch` commands need it (reference: bitrix24.md §1, §3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from chatferry.common.entities.reading import Command

_REFERENCE = re.compile(r"\$result\[([^\]]*)\]")


def command_line(command: Command) -> str:
    """`method?FILTER%5B%3EID%5D=100&start=-1`: encoded once, for a JSON body."""
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in _flat(command.params))
    return f"{command.method}?{query}" if query else command.method


def referred(command: Command) -> set[str]:
    """Labels of the commands whose answers this one's parameters are taken from."""
    return {label for _, value in _flat(command.params) for label in _REFERENCE.findall(value)}


def _flat(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in params.items():
        yield from _spread(name, value)


def _spread(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _spread(f"{name}[{key}]", inner)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _spread(f"{name}[{position}]", inner)
    elif isinstance(value, bool):
        yield name, "1" if value else "0"
    elif value is not None:
        yield name, str(value)
