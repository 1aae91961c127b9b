"""Which changes of a schema break its readers."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, create_model
from tools.documents.compatibility import breaks


class Part(BaseModel):
    size: int


class Event(BaseModel):
    key: str
    count: int
    note: str | None = None
    kind: Literal["a", "b"]
    parts: list[Part]
    counts: dict[str, dict[str, int]]


class Renamed(Event):
    pass


class PartOfText(BaseModel):
    size: str


class Narrowed(Event):
    kind: Literal["a"]
    note: None = None


class Extended(Event):
    more: str | None = None


class WithDefault(Event):
    count: int = 0


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: int


class ClosedWithMore(Closed):
    name: str | None = None


def _with(**changes: Any) -> type[BaseModel]:
    """Event, with other annotations; None takes a field away."""
    fields: dict[str, Any] = {name: (field.annotation, field.default) for name, field in Event.model_fields.items()}
    fields |= {name: (annotation, ...) for name, annotation in changes.items()}
    return create_model("Event", **{name: field for name, field in fields.items() if field[0] is not None})


def _breaks(old: type[BaseModel], new: type[BaseModel]) -> list[str]:
    return breaks(old.model_json_schema(), new.model_json_schema())


def test_an_unchanged_schema_breaks_nobody() -> None:
    assert _breaks(Event, Event) == []


def test_another_title_or_docstring_breaks_nobody() -> None:
    assert _breaks(Event, Renamed) == []


def test_a_new_optional_field_of_an_event_breaks_nobody() -> None:
    assert _breaks(Event, Extended) == []


def test_fewer_values_break_nobody() -> None:
    assert _breaks(Event, Narrowed) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"count": None}, "the body has lost the field count"),
        ({"count": str}, "count may be string now"),
        ({"count": int | None}, "count may be null now"),
        ({"more": str}, "the body has the new field more, required: what lies on the topics lacks it"),
        ({"kind": Literal["a", "b", "c"]}, "kind takes values that it did not take: ['c']"),
        ({"kind": str}, "kind takes values that it did not take: any"),
        ({"parts": list[str]}, "an item of parts may be string now"),
        ({"parts": list[PartOfText]}, "size of an item of parts may be string now"),
        ({"counts": dict[str, dict[str, str]]}, "a value of a value of counts may be string now"),
        ({"counts": dict[str, int]}, "a value of counts may be integer now"),
    ],
)
def test_a_change_that_breaks_readers_is_named(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in _breaks(Event, _with(**changes))


def test_a_renamed_field_is_a_lost_one_and_a_new_one() -> None:
    found = _breaks(Event, _with(count=None, number=int))
    assert found == [
        "the body has lost the field count",
        "the body has the new field number, required: what lies on the topics lacks it",
    ]


def test_a_field_that_may_be_missing_from_now_on_is_a_break() -> None:
    assert _breaks(Event, WithDefault) == ["the body may lack the field count"]


def test_any_new_field_of_a_closed_record_is_a_break() -> None:
    assert _breaks(Closed, ClosedWithMore) == ["the body has the new field name, and its published schema allows none"]
