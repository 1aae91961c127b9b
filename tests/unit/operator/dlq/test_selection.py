"""What may be named, and what is said about the rest."""

from __future__ import annotations

from typing import Any

import pytest

from chatferry.common.errors import FatalError
from chatferry.operator.dlq.selection import Selection, insist


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"error_class": "temporary"}, "permanent, exhausted, undecodable, unknown, rejected"),
        ({"entity": "messages"}, "users, chats, chat_messages"),
        ({"chat": 0}, "--chat 84"),
        ({"chat": 2**53 + 1}, "--chat 84"),
        ({"chat": 99999999999999999999}, "--chat 84"),
    ],
)
def test_a_name_that_nobody_knows_is_answered_with_those_there_are(given: dict[str, Any], words: str) -> None:
    with pytest.raises(FatalError, match=words):
        Selection(**given)


def test_all_has_to_be_said_and_goes_with_nothing_else() -> None:
    insist(Selection(chat=5), everything=False)
    insist(Selection(), everything=True)
    with pytest.raises(FatalError, match="say which"):
        insist(Selection(), everything=False)
    with pytest.raises(FatalError, match="--all is for all of them"):
        insist(Selection(code="x"), everything=True)


def test_all_that_is_named_has_to_fit() -> None:
    assert Selection().match() == {}
    named = Selection(error_class="permanent", code="target.NO", chat=5, ids=("a",)).match()
    assert named == {
        "$and": [
            {"error_class": "permanent"},
            {"code": "target.NO"},
            {"$or": [{"entity": "chats", "seq": 5}, {"entity": "chat_messages", "parent": 5}]},
            {"$or": [{"_id": {"$in": ["a"]}}, {"key": {"$in": ["a"]}}]},
        ]
    }
