"""The pure rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.importer.machine import Machine, chat, message

from chatferry.common.entities import ENTITIES
from chatferry.common.streaming.records import StoredRecord
from chatferry.importer.domain.answers import Window, own_code, retry_delay
from chatferry.importer.domain.batches import Cut, batches, lanes
from chatferry.importer.domain.records import ImportRecord, UndecodableError, read_record, told_place
from chatferry.importer.domain.standing import Standing, Verdict, attempts_before, judge

CHATS, MESSAGES = ENTITIES["chats"], ENTITIES["chat_messages"]


def _record(number: int, chat_id: int, text: str = "t", replay_of: str | None = None) -> ImportRecord:
    raw = Machine().publish("chat_messages", message(number, chat_id, text), version=5, replay_of=replay_of)
    return read_record(raw, MESSAGES, "p")


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 400)), max_size=30), st.integers(1, 7))
def test_batches_keep_all_records_of_a_line_in_order_and_within_bounds(
    shapes: list[tuple[int, int]], items: int
) -> None:
    records = [_record(n + 1, chat_id, "x" * size) for n, (chat_id, size) in enumerate(shapes)]
    failed = frozenset(record.key for record in records[::5])
    cut = list(batches(records, Cut(items, 1_000, failed)))
    cut_up = [record for batch in cut for record in batch]
    assert len(cut_up) == len(records)
    for line in {record.line for record in records}:
        assert [one for one in cut_up if one.line == line] == [one for one in records if one.line == line]
    for batch in cut:
        assert len(batch) <= items
        assert len(batch) == 1 or sum(len(record.body) for record in batch) <= 1_000
        for place, record in enumerate(batch):
            assert record.key not in failed or record.line not in [later.line for later in batch[place + 1 :]]


def test_records_that_failed_before_go_together_and_what_follows_them_in_another_batch() -> None:
    records = [_record(10 * chat + n, chat) for chat in range(1, 51) for n in range(2)]
    failed = frozenset(record.key for record in records[::2])
    assert list(batches(records, Cut(100, 1_000_000, failed))) == [records[::2], records[1::2]]


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 5))
def test_a_line_is_whole_and_in_order_in_one_lane(chats: list[int], count: int) -> None:
    records = [_record(n + 1, chat_id) for n, chat_id in enumerate(chats)]
    sorted_out = lanes(records, count)
    assert sum(len(lane) for lane in sorted_out) == len(records)
    for chat_id in set(chats):
        holding = [lane for lane in sorted_out if any(record.line.parent == chat_id for record in lane)]
        assert len(holding) == 1
        assert [r for r in holding[0] if r.line.parent == chat_id] == [r for r in records if r.line.parent == chat_id]


@given(st.binary(max_size=60) | st.none(), st.binary(max_size=5) | st.none(), st.booleans())
def test_reading_never_raises_anything_but_undecodable(value: bytes | None, key: bytes | None, good: bool) -> None:
    machine = Machine()
    headers = machine.publish("chat_messages", message(1, 2)).headers if good else ((("ce_id", b"\xff")),)
    raw = machine.append("chat_messages", 2, value, headers)
    with pytest.raises(UndecodableError) as broken:
        read_record(raw, MESSAGES, "p")
    assert broken.value.code.count(".") == 1


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, -(2**63), 10**4_200], ids=["2^53", "2^63", "-2^63", "long"])
def test_ids_that_no_database_holds_are_undecodable(number: int) -> None:
    written = "9" * 4_201 if number == 10**4_200 else str(number)
    good = Machine().publish("chat_messages", message(1, 2))
    assert good.value is not None
    for field, key in (("id", b"2"), ("chat_id", written.encode())):
        named = f"source:chat:msg:{written if field == 'id' else 1}".encode()
        headers = [(name, named if name == "ce_subject" else value) for name, value in good.headers]
        old = f'"{field}":{1 if field == "id" else 2},'.encode()
        assert old in good.value
        raw = Machine().append("chat_messages", 2, good.value.replace(old, f'"{field}":{written},'.encode()), headers)
        with pytest.raises(UndecodableError) as broken:
            read_record(replace(raw, key=key), MESSAGES, "p")
        assert broken.value.code == "body.invalid"


def test_a_version_of_thousands_of_digits_is_undecodable() -> None:
    good = Machine().publish("chat_messages", message(1, 2))
    headers = [(name, b"9" * 5_000 if name == "ce_recordversion" else value) for name, value in good.headers]
    with pytest.raises(UndecodableError) as broken:
        read_record(replace(good, headers=tuple(headers)), MESSAGES, "p")
    assert broken.value.code == "envelope.broken"


@pytest.mark.parametrize("size", [513, 900_000])
def test_a_source_that_is_no_name_is_undecodable(size: int) -> None:
    good = Machine().publish("chat_messages", message(1, 2))
    source = b"/chatferry/p/".ljust(size, b"x")
    headers = [(name, source if name == "ce_source" else value) for name, value in good.headers]
    with pytest.raises(UndecodableError, match="longer than 512"):
        read_record(replace(good, headers=tuple(headers)), MESSAGES, "p")


@pytest.mark.parametrize("odd", [b"x" * 900_000, b"00-0-0-0", b"\xff", b"00-" + b"A" * 32 + b"-" + b"0" * 16 + b"-01"])
def test_a_traceparent_that_is_none_is_left_alone(odd: bytes) -> None:
    good = Machine().publish("chat_messages", message(1, 2))
    read = read_record(replace(good, headers=(*good.headers, ("traceparent", odd))), MESSAGES, "p")
    assert read.envelope.traceparent is None


def test_of_a_list_that_is_wrong_throughout_one_error_is_kept() -> None:
    wrong = {**chat(2), "participant_ids": [""] * 1_000}
    with pytest.raises(ValidationError) as invalid:
        CHATS.model.model_validate(wrong)
    assert invalid.value.error_count() == 1


@pytest.mark.parametrize(
    ("standing", "replay_of", "verdict"),
    [
        (None, None, Verdict.UNKNOWN),
        (Standing(5, "NEW", 0, 0, erred=False), None, Verdict.SEND),
        (Standing(5, "NEW", 4, 0, erred=False), None, Verdict.SEND),
        (Standing(5, "IMPORT_OK", 5, 0, erred=False), None, Verdict.DONE),
        (Standing(9, "NEW", 6, 0, erred=False), None, Verdict.DONE),
        (Standing(9, "IMPORT_ERR", 0, 0, erred=True), None, Verdict.SEND),
        (Standing(5, "IMPORT_ERR", 0, 3, erred=True), None, Verdict.DEAD),
        (Standing(5, "IMPORT_ERR", 0, 3, erred=True), "p.chat_messages/0/1", Verdict.SEND),
        (Standing(5, "IMPORT_ERR", 0, 3, erred=True), "p.chat_messages/0/2", Verdict.DEAD),
        (Standing(5, "SKIPPED", 0, 3, erred=True), "p.chat_messages/0/2", Verdict.SET_ASIDE),
        (Standing(5, "NEW", 0, 0, erred=True), "p.chat_messages/0/2", Verdict.SEND),
        (Standing(5, "SKIPPED", 0, 3, erred=True), None, Verdict.SET_ASIDE),
        (Standing(5, "ERROR_RETRY", 0, 1, erred=True), None, Verdict.SEND),
    ],
)
def test_what_is_due_follows_from_the_document(
    standing: Standing | None, replay_of: str | None, verdict: Verdict
) -> None:
    assert judge(_record(1, 2, replay_of=replay_of), standing, {"p.chat_messages/0/1"}) is verdict


@pytest.mark.parametrize(
    ("standing", "attempts"),
    [
        (Standing(5, "NEW", 0, 2, erred=True), 0),
        (Standing(5, "ERROR_RETRY", 0, 2, erred=True), 2),
        (Standing(5, "IMPORT_ERR", 0, 3, erred=True), None),
        (Standing(5, "SKIPPED", 0, 0, erred=False), None),
        (Standing(9, "ERROR_RETRY", 0, 1, erred=True), None),
        (Standing(4, "ERROR_RETRY", 0, 1, erred=True), None),
    ],
)
def test_a_document_counts_the_attempts_of_its_own_version_until_it_has_ended(
    standing: Standing, attempts: int | None
) -> None:
    assert attempts_before(_record(1, 2), standing) == attempts


def test_there_is_one_attempt_more_than_delays_and_each_delay_is_spread_by_a_fifth_at_most() -> None:
    assert retry_delay(1, (2.0, 6.0), 0.0) == 2.0
    assert retry_delay(2, (2.0, 6.0), 1.0) == pytest.approx(7.2)
    assert retry_delay(3, (2.0, 6.0), 0.5) is None


def test_a_code_that_could_be_text_is_not_passed_on() -> None:
    assert own_code("PARENT_MISSING") == "target.PARENT_MISSING"
    assert own_code("Dear Anna, ...") == "target.error"
    assert own_code("A" * 49) == "target.error"
    assert own_code(None) == "target.error"


@pytest.mark.parametrize("code", ["79991234567", "_79991234567", "TEL_79991234567", "P_7_999_123_45_67", "7", "", "_A"])
def test_a_telephone_number_is_no_error_code(code: str) -> None:
    assert own_code(code) == "target.error"


@pytest.mark.parametrize("code", ["HTTP_503", "E4042", "A", "A" * 48])
def test_a_plain_token_with_a_short_number_is_one(code: str) -> None:
    assert own_code(code) == f"target.{code}"


def test_more_than_half_of_the_last_hundred_is_an_outage() -> None:
    window = Window()
    window.add([True] * 50)
    assert not window.outage()
    window.add([True])
    assert window.outage()
    window.add([False] * 50)
    assert not window.outage()


def _stored(entity: str, payload: dict[str, Any]) -> StoredRecord:
    raw = Machine().publish(entity, payload)
    return StoredRecord(raw.topic, raw.partition, raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers))


def test_an_unreadable_record_is_placed_by_what_its_headers_and_its_key_say() -> None:
    cut = replace(_stored("chat_messages", message(101, 7)), value=b"{cut")
    assert told_place(cut, MESSAGES, "p") == (7, 101)
    root = replace(_stored("chats", chat(7)), value=None)
    assert told_place(root, CHATS, "p") == (7, 7)


@pytest.mark.parametrize("key", [None, b"", b"07", b"-7", b" 7", b"7x", b"\xff", "٧".encode(), b"0", b"9" * 17])
def test_a_key_that_the_extractor_does_not_write_places_no_record(key: bytes | None) -> None:
    assert told_place(replace(_stored("chat_messages", message(101, 7)), key=key), MESSAGES, "p") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_subject", None),
        ("ce_subject", b"source:chat:7"),
        ("ce_subject", b"source:chat:msg:0101"),
        ("ce_subject", b"source:chat:msg:"),
        ("ce_source", None),
        ("ce_source", b"/chatferry/another/portal"),
        ("ce_type", b"chats.extracted"),
    ],
)
def test_headers_of_anything_else_place_no_record(name: str, value: bytes | None) -> None:
    raw = _stored("chat_messages", message(101, 7))
    other = tuple((one, value if one == name else told) for one, told in raw.headers)
    assert told_place(replace(raw, headers=other), MESSAGES, "p") is None
    assert told_place(replace(raw, headers=()), MESSAGES, "p") is None


def test_a_root_whose_key_is_anothers_has_no_place() -> None:
    assert told_place(replace(_stored("chats", chat(7)), key=b"8"), CHATS, "p") is None
