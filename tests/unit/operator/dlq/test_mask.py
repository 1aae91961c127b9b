"""Nothing that anybody wrote is shown without --reveal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.importer.machine import Machine, message

from chatferry.common.contracts.canonical import canonical_json
from chatferry.common.contracts.envelope import DEAD_LETTER_HEADERS
from chatferry.common.entities import ENTITIES
from chatferry.common.streaming.records import StoredRecord
from chatferry.importer.adapters.events import what_happened
from chatferry.importer.ports import Dead
from chatferry.operator.dlq.kafka import as_it_was, id_of
from chatferry.operator.dlq.mask import body, header, kafka_key

WORDS = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=3, max_size=30).map(lambda text: f"§{text}")
JSON = st.recursive(WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3))


@given(JSON)
def test_no_word_of_any_json_is_shown(content: object) -> None:
    shown = body(json.dumps(content).encode(), reveal=False)
    assert "§" not in shown
    assert json.loads(body(json.dumps(content).encode(), reveal=True)) == content


def test_of_a_message_ids_and_times_are_shown_and_nothing_else() -> None:
    payload = {**message(101, 5, "Пароль 4711"), "author_id": 7, "files": [{"id": 3, "name": "договор.pdf"}]}
    shown = json.loads(body(canonical_json(payload), reveal=False))
    assert (shown["id"], shown["chat_id"], shown["author_id"]) == (101, 5, 7)
    assert shown["sent_at"] == payload["sent_at"]
    assert shown["text"] == "‹11 signs›"
    assert shown["files"] == [{"id": 3, "name": "‹11 signs›"}]
    assert shown["deleted"] is False


@pytest.mark.parametrize("value", ["+7 900 123-45-67", "89001234567", "2026-03-04 или позже", "sk_live_4711"])
def test_numbers_and_tokens_that_only_look_harmless_are_hidden(value: str) -> None:
    for name in ("text", "PERSONAL_MOBILE", "title", "type", "source_original"):
        assert value not in body(json.dumps({name: value}).encode(), reveal=False)


def test_a_number_is_shown_only_where_it_names_a_record() -> None:
    shown = body(b'{"PHONE": 79001234567, "size_bytes": 9, "user_ids": [1, 2], "amount": 1.5}', reveal=False)
    assert json.loads(shown) == {"PHONE": "‹number›", "size_bytes": 9, "user_ids": [1, 2], "amount": "‹number›"}


@pytest.mark.parametrize("name", ["entity_id", "ENTITY_ID", "external_id", "xml_ids", "phone_id"])
@pytest.mark.parametrize("value", ["79161234567", 79161234567])
def test_an_id_that_is_not_of_our_records_may_be_a_telephone_number(name: str, value: str | int) -> None:
    assert "79161234567" not in body(json.dumps({name: value, "id": 5}).encode(), reveal=False)


def test_what_is_nested_deeper_than_can_be_read_is_counted_or_shown_as_it_is() -> None:
    for deep in (b'{"text":' * 2_000 + b'"Anna"' + b"}" * 2_000, b"[" * 50_000 + b"]" * 50_000):
        assert body(deep, reveal=False) == f"‹{len(deep):,} bytes, nested too deeply to be shown›"
        assert body(deep, reveal=True) == deep.decode()
    assert "Anna" not in body(b'{"text":' * 600 + b'"Anna"' + b"}" * 600, reveal=False)


def test_half_of_a_sign_is_shown_as_json_writes_it() -> None:
    shown = body(b'{"text": "a \\ud83d b \\ud83d\\ude00"}', reveal=True)
    assert shown == '{\n  "text": "a \\ud83d b 😀"\n}'
    assert json.loads(body(b'{"\\ud83d": "a \\ud83d"}', reveal=False)) == {"‹name 0›": "‹3 signs›"}


def test_bytes_that_are_no_json_are_counted_and_no_body_is_said() -> None:
    assert body(b"\xff secret", reveal=False) == "‹8 bytes that are not JSON›"
    assert "secret" in body(b"\xff secret", reveal=True)
    assert body(None, reveal=False) == "no body"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("ce_id", b"source:chat:msg:84@17", ("ce_id", "source:chat:msg:84@17")),
        ("ce_subject", b"Anna", ("ce_subject", "‹4 signs›")),
        ("ce_type", b"chat_messages.extracted", ("ce_type", "chat_messages.extracted")),
        ("ce_source", b"/chatferry/demo/acme.bitrix24.ru", ("ce_source", "/chatferry/demo/acme.bitrix24.ru")),
        ("content-type", b"application/json", ("content-type", "application/json")),
        ("authorization", b"Bearer x", ("‹name›", "‹8 signs›")),
        ("x", None, ("‹name›", "null")),
    ],
)
def test_a_header_is_shown_when_it_has_our_form(name: str, value: bytes | None, shown: tuple[str, str]) -> None:
    assert header(name, value, reveal=False) == shown
    assert header(name, value, reveal=True) == (name, "null" if value is None else value.decode())


@pytest.mark.parametrize(
    ("key", "content", "shown"),
    [
        (b"84", None, "84"),
        (b"9001234567", b"no JSON", "‹10 signs›"),
        (b"9001234567", b'{"id": 5, "chat_id": 84}', "‹10 signs›"),
        (b"9001234567", b'{"id": 9001234567}', "9001234567"),
        (b"9001234567", b'{"id": 5, "chat_id": 9001234567}', "9001234567"),
        (b"79001234567", b'{"text": 79001234567}', "‹11 signs›"),
        (b"9007199254740993", b'{"id": 9007199254740993}', "‹16 signs›"),
        (b"Anna", b'{"id": "Anna"}', "‹4 signs›"),
        ("٨٤".encode(), None, "‹2 signs›"),
        (b"84", b"[" * 50_000, "84"),
        (None, None, "null"),
    ],
)
def test_a_key_is_shown_when_it_is_the_id_of_a_chat_or_a_user(
    key: bytes | None, content: bytes | None, shown: str
) -> None:
    assert kafka_key(key, content, reveal=False) == shown
    assert kafka_key(key, content, reveal=True) == ("null" if key is None else key.decode())


def test_what_the_importer_adds_to_a_copy_is_taken_away_again_and_no_more() -> None:
    raw = Machine().publish("chat_messages", message(101, 5))
    dead = Dead(raw, ENTITIES["chat_messages"], None, "undecodable", "body.null", "no body", 0)
    added = what_happened(dead)
    assert tuple(name for name, _ in added) == DEAD_LETTER_HEADERS
    for own in (raw.headers, (), (*raw.headers, *added)):
        copy = StoredRecord("p.dlq", 0, 3, 0, raw.key, raw.value, (*own, *added))
        assert as_it_was(copy).headers == tuple(own)
        assert id_of(copy) == "p.chat_messages/1/0"


def test_a_record_that_calls_itself_another_dead_letter_is_taken_for_none() -> None:
    raw = Machine().publish("chat_messages", message(101, 5))
    own = (*raw.headers, ("dlq-id", b"source:chat:msg:5@9"), ("dlq-topic", b"p.chats"))
    added = what_happened(Dead(raw, ENTITIES["chat_messages"], None, "undecodable", "body.null", "no body", 0))
    copy = StoredRecord("p.dlq", 0, 3, 0, raw.key, raw.value, (*own, *added))
    assert id_of(copy) == "p.chat_messages/1/0"
    assert as_it_was(copy).headers == own


def test_a_record_of_the_portal_has_no_headers_and_its_own_id() -> None:
    headers = (("dlq-id", b"source:chat:msg:5@9"), ("dlq-topic", b"p.chat_messages"), ("dlq-message", b"Anna"))
    copy = StoredRecord("p.dlq", 0, 3, 0, b"5", b"{}", headers)
    assert as_it_was(copy).headers == ()
    assert id_of(copy) == "source:chat:msg:5@9"
