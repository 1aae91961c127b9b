"""PHP's way to write parameters, as the portal reads them back."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest

from chatferry.common.entities.reading import Command
from chatferry.common.portal.encoding import command_line, referred


@pytest.mark.parametrize(
    ("params", "line"),
    [
        ({}, "user.get"),
        ({"start": -1}, "user.get?start=-1"),
        ({"FILTER": {">ID": 100}}, "user.get?FILTER[>ID]=100"),
        ({"ID": [5, 7]}, "user.get?ID[0]=5&ID[1]=7"),
        ({"ADMIN_MODE": True, "X": False, "GONE": None}, "user.get?ADMIN_MODE=1&X=0"),
        ({"LAST_ID": "$result[w1_0][messages][49][id]"}, "user.get?LAST_ID=$result[w1_0][messages][49][id]"),
        ({"A": {"B": {"C": "я"}}}, "user.get?A[B][C]=я"),
    ],
)
def test_parameters_are_spread_as_php_reads_them(params: dict[str, Any], line: str) -> None:
    assert unquote(command_line(Command("w1", "user.get", params))) == line


def test_what_separates_parameters_is_escaped_in_values() -> None:
    assert command_line(Command("w1", "m", {"q": "a&b=c d"})) == "m?q=a%26b%3Dc%20d"


def test_a_command_refers_to_the_labels_whose_answers_it_takes() -> None:
    nested = {"FILTER": {">ID": "$result[w1_0][49][ID]"}, "USERS": ["$result[w2_0][owner]", 7], "start": -1}
    assert referred(Command("w1_1", "user.get", nested)) == {"w1_0", "w2_0"}
    assert referred(Command("w1_0", "user.get", {"start": 0})) == set()
