"""Would readers of a published schema still understand what is published from now on?

A reader was built on the committed schema. It breaks when a field it knows is gone or renamed, when a field takes a
value it has never seen, or when one that was always there may be missing. And it must still read what lies on the
topics: a new field that is required is not in those. A record is closed (`additionalProperties` false), so any new
field of it breaks whoever checks records by the schema, the target first of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.documents.catalogue import Json

_IGNORED = frozenset({"title", "description", "default", "examples", "$schema"})
_BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "pattern", "format", "exclusiveMinimum", "exclusiveMaximum")


def breaks(committed: Json, new: Json) -> list[str]:
    """What would break a reader of the committed schema, a sentence each; empty: nothing."""
    return list(_compare(committed, new, (committed.get("$defs", {}), new.get("$defs", {})), "the body"))


def _compare(old: Json, new: Json, defs: tuple[Json, Json], where: str) -> Iterator[str]:
    old_forms, new_forms = _forms(old, defs[0]), _forms(new, defs[1])
    for form in new_forms:
        like = next((one for one in old_forms if _kind(one) == _kind(form)), None)
        if like is None:
            yield f"{where} may be {_kind(form)} now"
            continue
        yield from _values(like, form, where)
        if form.get("type") == "object":
            yield from _fields(like, form, defs, where)
        if form.get("type") == "array":
            yield from _compare(like.get("items", {}), form.get("items", {}), defs, f"an item of {where}")


def _forms(schema: Json, defs: Json) -> list[Json]:
    """The alternatives of a schema, references followed."""
    if "$ref" in schema:
        return _forms(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in schema:
        return [form for one in schema["anyOf"] for form in _forms(one, defs)]
    return [{key: value for key, value in schema.items() if key not in _IGNORED}]


def _kind(form: Json) -> str:
    return str(form.get("type", "anything"))


def _values(old: Json, new: Json, where: str) -> Iterator[str]:
    known, possible = _choices(old), _choices(new)
    if known is not None and (possible is None or not possible <= known):
        yield f"{where} takes values that it did not take: {sorted(map(str, (possible or set()) - known)) or 'any'}"
    for bound in _BOUNDS:
        if bound in old and old[bound] != new.get(bound):
            yield f"{where} has another {bound}"


def _choices(form: Json) -> set[Any] | None:
    if "const" in form:
        return {form["const"]}
    return set(form["enum"]) if "enum" in form else None


def _fields(old: Json, new: Json, defs: tuple[Json, Json], where: str) -> Iterator[str]:
    had, has = old.get("properties", {}), new.get("properties", {})
    closed = old.get("additionalProperties") is False
    yield from (f"{where} has lost the field {name}" for name in had if name not in has)
    needed = new.get("required", [])
    for name in has:
        if name in had:
            yield from _compare(had[name], has[name], defs, f"{name} of {where}" if where != "the body" else name)
        elif closed:
            yield f"{where} has the new field {name}, and its published schema allows none"
        elif name in needed:
            yield f"{where} has the new field {name}, required: what lies on the topics lacks it"
    yield from (f"{where} may lack the field {n}" for n in old.get("required", []) if n in has and n not in needed)
    inner, outer = old.get("additionalProperties"), new.get("additionalProperties")
    if isinstance(inner, dict) and isinstance(outer, dict):
        yield from _compare(inner, outer, defs, f"a value of {where}")
    elif isinstance(inner, dict) or (closed and outer is not False):
        yield f"{where} takes other fields than it took"
