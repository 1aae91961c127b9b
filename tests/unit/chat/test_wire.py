"""Batches are read in one pass, and a wrong item is named without being repeated."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.chat.records import message, of_entity, user, wire

from chatferry.chat.refusals import RefusedCallError
from chatferry.chat.wire import Served, serve
from chatferry.common.entities import ENTITIES, FAMILIES

CHATS = serve("chats")
SERVED = {entity: serve(ENTITIES[entity].family) for entity in of_entity}


def read(served: Served, entity: str, *items: Any) -> tuple[list[Any], list[tuple[int, str, str]]]:
    """Data of the sound items; position, code and message of the others."""
    batch = served.read(orjson.dumps({"entity": entity, "items": list(items)}))
    refusals = [(position, outcome.refusal) for position, outcome in batch.wrong]
    return [one["data"] for one in batch.items], [(p, r.code, r.sentence) for p, r in refusals if r is not None]


def refusal(data: dict[str, Any], /, **fields: Any) -> tuple[str, str]:
    _sound, [(_position, code, sentence)] = read(CHATS, "chat_messages", {**wire("chat_messages", data), **fields})
    return code, sentence


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(*(st.tuples(st.just(name), records) for name, records in of_entity.items())))
def test_any_valid_record_is_read_as_it_was_written(pair: tuple[str, dict[str, Any]]) -> None:
    entity, data = pair
    assert read(SERVED[entity], entity, wire(entity, data)) == ([data], [])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(of_entity["chat_messages"], st.data())
def test_whatever_the_contracts_model_refuses_is_refused(data: dict[str, Any], draws: st.DataObject) -> None:
    field = draws.draw(st.sampled_from(sorted(data)))
    odd = st.sampled_from([None, 1, 1.5, "1", True, [], {}, [1], ["1"], [None], {"utc": 1}, [{"id": 1}]])
    broken = {**data, field: draws.draw(odd)}
    try:
        ENTITIES["chat_messages"].model.model_validate(broken)
    except ValidationError:
        wanted = 0
    else:
        wanted = 1
    item = {**wire("chat_messages", data), "data": broken}
    assert len(read(CHATS, "chat_messages", item)[0]) == wanted


def test_every_family_can_be_served() -> None:
    assert {entity for family in FAMILIES for entity in serve(family).kinds} == set(ENTITIES)


def test_a_family_of_one_entity_is_read_too() -> None:
    assert read(serve("users"), "users", wire("users", user(1))) == ([user(1)], [])


def test_a_missing_field_is_named() -> None:
    data = message(7, 1)
    del data["text"]
    assert refusal(data) == ("INVALID_DATA", "data.text: Field required")


def test_a_foreign_field_is_not_repeated() -> None:
    code, sentence = refusal(message(7, 1, **{"password-1234": "hunter2"}))
    assert code == "INVALID_DATA"
    assert "password" not in sentence
    assert "hunter2" not in sentence


@pytest.mark.parametrize("wrong", [{"author_id": "503"}, {"author_id": 1.0}, {"system": 0}, {"text": None}])
def test_types_are_strict(wrong: dict[str, Any]) -> None:
    assert refusal(message(7, 1, **wrong))[0] == "INVALID_DATA"


@pytest.mark.parametrize(
    "wrong", [{"version": 0}, {"version": 2**53 + 1}, {"hash": "A" * 64}, {"hash": None}, {"data": None}]
)
def test_an_items_own_fields_are_checked(wrong: dict[str, Any]) -> None:
    assert refusal(message(7, 1), **wrong)[0] == "INVALID_ITEM"


def test_wrong_items_are_told_by_their_place_among_the_sound_ones() -> None:
    items = [wire("chat_messages", message(n, 1)) for n in range(5)]
    items[1]["version"] = items[3]["version"] = 0
    sound, wrong = read(CHATS, "chat_messages", *items)
    assert [one["id"] for one in sound] == [0, 2, 4]
    assert [position for position, _, _ in wrong] == [1, 3]


@pytest.mark.parametrize("key", [None, 5, "", "x" * 257])
def test_an_item_without_a_key_spoils_the_batch(key: object) -> None:
    with pytest.raises(RefusedCallError, match=r"items\.1\.key"):
        read(CHATS, "chats", {"key": "a"}, {"key": key})
