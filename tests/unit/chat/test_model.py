"""The target's own model: nothing is lost on the way there and back, and an edit shows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.chat.records import message, of_entity, time_at, times

from chatferry.chat.domain.items import kinds_of
from chatferry.chat.domain.model import SHAPES
from chatferry.chat.domain.times import UnkeepableTimeError, kept_time, told_time
from chatferry.common.contracts.canonical import canonical_json
from chatferry.common.entities import ENTITIES

entity_and_record = st.one_of(*(st.tuples(st.just(name), records) for name, records in of_entity.items()))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entity_and_record)
def test_any_valid_record_comes_back_byte_for_byte(pair: tuple[str, dict[str, Any]]) -> None:
    entity, data = pair
    ENTITIES[entity].model.model_validate(data)
    shape = SHAPES[entity]
    assert canonical_json(shape.tell(shape.keep(data))) == canonical_json(data)


@given(times())
def test_a_time_survives_a_store_of_milliseconds(time: dict[str, str]) -> None:
    kept = kept_time(time)
    assert kept["at"].microsecond % 1000 == 0
    assert told_time(kept) == time


def test_every_entity_has_a_place_at_the_target() -> None:
    assert set(SHAPES) >= {"users", "chats", "chat_messages"}
    assert list(kinds_of("chats")) == ["chats", "chat_messages"]


def test_the_json_that_came_is_not_kept() -> None:
    shape = SHAPES["chat_messages"]
    document = shape.keep(message(1, 2, system=True))
    assert "system" not in document
    assert document["marks"] == ["system"]
    assert "files" not in document


def test_a_date_moved_by_hand_is_told_as_moved() -> None:
    kept = kept_time(time_at())
    kept["at"] += timedelta(hours=1)
    assert told_time(kept)["utc"] == "2026-03-04T07:42:31Z"
    kept["at"] += timedelta(milliseconds=5)
    assert told_time(kept)["utc"] == "2026-03-04T07:42:31.005000Z"


@pytest.mark.parametrize(
    "utc",
    [
        "",
        "yesterday",
        "2026-03-04T06:42:31",
        "2026-03-04 06:42:31Z",
        "20260304T064231Z",
        "2026-02-30T06:42:31Z",
        "2026-03-04T06:42:31.Z",
        "2026-03-04T06:42:31.1234567Z",
        "2026-03-04T06:42:31.٣Z",
        "2026-03-04T06:42:31+00:00",
        "2026-03-04T06:42:31ZZ",
    ],
)
def test_what_is_no_moment_in_the_protocols_form_is_not_kept(utc: str) -> None:
    with pytest.raises(UnkeepableTimeError) as refused:
        kept_time({"source_original": "", "utc": utc, "original_offset": "+03:00"})
    assert not utc or utc not in str(refused.value)
