from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatferry.simulators.bitrix24.params import as_int, as_list, is_yes, parse_query, php_true


def test_brackets_become_nested_maps_and_lists() -> None:
    text = "filter%5B%3EID%5D=100&select[]=ID&select[]=NAME&order[ID]=ASC&fields[PHONE][0][VALUE]=1&a=2&a=3"
    assert parse_query(text) == {
        "filter": {">ID": "100"},
        "select": ["ID", "NAME"],
        "order": {"ID": "ASC"},
        "fields": {"PHONE": [{"VALUE": "1"}]},
        "a": "3",
    }


def test_a_map_whose_numbers_have_holes_stays_a_map() -> None:
    assert parse_query("ids[0]=a&ids[2]=b") == {"ids": {"0": "a", "2": "b"}}


def test_an_unnamed_key_after_numbers_goes_on_counting() -> None:
    assert parse_query("ids[4]=a&ids[]=b") == {"ids": {"4": "a", "5": "b"}}


@given(st.text())
def test_no_query_makes_the_parser_fail(text: str) -> None:
    assert isinstance(parse_query(text), dict)


def test_php_truth_takes_the_word_false_for_true() -> None:
    assert php_true("false")
    falsy: tuple[Any, ...] = (None, 0, "0", "", [], {}, False)
    assert not any(php_true(value) for value in falsy)


def test_flags_and_numbers_are_read_loosely() -> None:
    assert all(is_yes(value) for value in (True, 1, "1", "Y", "y", "true"))
    no: tuple[Any, ...] = (False, 0, "N", None, "", [1])
    assert not any(is_yes(value) for value in no)
    numbers: tuple[Any, ...] = (7, "7", " 7 ", 7.9, True, "x", None, [])
    assert [as_int(value) for value in numbers] == [7, 7, 7, 7, 1, None, None, None]
    assert [as_list(value) for value in (None, [1], {"0": 1}, 1)] == [[], [1], [1], [1]]
