import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatferry.simulators.bitrix24.messages import Message, MessageLog


def message(number: int, **parts: object) -> Message:
    return Message(number, 7, 3, "2024-01-01T00:00:00+03:00", "text", **parts)  # type: ignore[arg-type]


def test_what_is_put_comes_back_part_by_part() -> None:
    log = MessageLog()
    whole = message(5, reply_to=2, likes=(3, 4), file_ids=(9,), edited=True)
    log.put(whole)
    assert log.message(5) == whole


@given(st.lists(st.integers(1, 60), max_size=40), st.lists(st.integers(1, 60), max_size=20))
def test_a_log_is_a_sorted_map_whatever_the_order_of_changes(put: list[int], removed: list[int]) -> None:
    log, wanted = MessageLog(), set(put)
    for number in put:
        log.put(message(number))
    for number in removed:
        if number in wanted:
            wanted.remove(number)
            log.remove(number)
        else:
            with pytest.raises(KeyError):
                log.remove(number)
    assert list(log.ids) == sorted(wanted)
    assert [log.fields(position)["id"] for position in range(len(log))] == sorted(wanted)
    assert log.last_id == max(wanted, default=0)


def test_a_lone_surrogate_is_sent_as_an_escape() -> None:
    log = MessageLog()
    log.put(Message(1, 7, 3, "2024-01-01", "a\ud800b"))
    assert b'"a\\ud800b"' in log.body(0)
    assert json.loads(log.body(0))["text"] == "a\ud800b"
    assert log.message(1).text == "a\ud800b"


def test_page_people_are_authors_likers_and_those_whom_system_messages_name() -> None:
    log = MessageLog()
    log.put(message(1, likes=(8,)))
    log.put(Message(2, 7, 0, "2024-01-01", "[USER=11 REPLACE]A[/USER] joined", code="CHAT_JOIN"))
    log.put(message(3, file_ids=(5, 6)))
    assert log.people_and_files(0, 3) == ({3, 8, 11}, [5, 6])
    assert log.people_and_files(2, 3) == ({3}, [5, 6])


def test_a_deleted_message_has_lost_its_files_and_likes() -> None:
    log = MessageLog()
    log.put(message(1, likes=(8,), file_ids=(5,)))
    log.put(message(1, likes=(8,), file_ids=(5,), deleted=True))
    assert log.people_and_files(0, 1) == ({3}, [])
    assert log.fields(0)["params"] == {"IS_DELETED": "Y"}
