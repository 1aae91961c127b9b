"""What a search finds: letters as people type them."""

from __future__ import annotations

import unicodedata

import pytest
from tests.unit.participants.readers import entry, service


@pytest.mark.parametrize(
    ("search", "title", "found"),
    [
        ("ежик", "ЁЖИК", True),
        ("ёжик", "Ежик", True),
        ("край", "КРАЙ", True),
        ("край", unicodedata.normalize("NFD", "Край"), True),
        (unicodedata.normalize("NFD", "край"), "Край", True),
        ("край", "Краи", False),
        ("краи", "Край", False),
        ("cafe", "Café", True),
        ("и", "и\u0301", True),
    ],
)
async def test_case_accents_and_the_dots_of_yo_make_no_difference_and_short_i_is_a_letter_of_its_own(
    search: str, title: str, found: bool
) -> None:
    one = await service([entry(1, title)])
    answer = await one.got("/chats/all", search=search)
    assert [chat["title"] for chat in answer.json()["chats"]] == ([title] if found else [])


@pytest.mark.parametrize("search", ["\u0301", "\u0306\u0308", " \u0301 "])
async def test_a_search_of_marks_alone_finds_nothing(search: str) -> None:
    one = await service([entry(1, "чат"), entry(2, "и\u0301"), entry(3, None)])
    page = (await one.got("/chats/all", search=search)).json()
    assert (page["chats"], page["total"]) == ([], 0)


async def test_a_search_of_nothing_finds_all() -> None:
    one = await service([entry(1, "чат"), entry(2, None)])
    assert (await one.got("/chats/all", search="  ")).json()["total"] == 2
