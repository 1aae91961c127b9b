"""Walks over lists: keyset pages chained in one batch, and OFFSET pages that repeat and move."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chatferry.common.entities.reading import Answer, Command, Refusal, Walk
from chatferry.common.entities.walks import KeysetWalk, Names, OffsetWalk

IDS = st.lists(st.integers(1, 2000), unique=True, max_size=230).map(sorted)


def user_get(ids: Sequence[int], commands: Sequence[Command]) -> list[Answer]:
    """`user.get` in a batch: pages of 50, references to rows of commands before; no total with start=-1."""
    rows: dict[str, list[dict[str, str]]] = {}
    answers = []
    for command in commands:
        after = command.params["FILTER"][">ID"]
        if isinstance(after, str):
            label = after.removeprefix("$result[").partition("]")[0]
            after = int(rows[label][49]["ID"]) if len(rows[label]) == 50 else 0
        page = [{"ID": str(number)} for number in ids if number > after][:50]
        rows[command.label] = page
        total = sum(number > after for number in ids) if command.params["start"] == 0 else None
        answers.append(Answer(page, total=total or None))
    return answers


def all_rows(walk: Walk, portal: Callable[[Sequence[Command]], list[Answer]], room: int) -> list[Any]:
    rows: list[Any] = []
    for n in range(500):
        harvest = walk.absorb(portal(walk.plan(room, f"w{n}")))
        rows += [row for page in harvest.pages for row in page.rows]
        if harvest.ended:
            return rows
    raise AssertionError("the walk does not end")


@settings(max_examples=40, deadline=None)
@given(ids=IDS, room=st.integers(1, 8))
def test_a_keyset_walk_lists_every_id_once(ids: list[int], room: int) -> None:
    walk = KeysetWalk("user.get", {})
    rows = all_rows(walk, lambda commands: user_get(ids, commands), room)
    assert [int(row["ID"]) for row in rows] == ids
    assert walk.state() == {"low": ids[-1] if ids else 0, "claimed": len(ids), "listed": len(ids)}


@settings(max_examples=40, deadline=None)
@given(ids=IDS, room=st.integers(1, 8), seed=st.integers(0, 99))
def test_a_keyset_walk_survives_users_that_come_and_go(ids: list[int], room: int, seed: int) -> None:
    random, there = Random(seed), list(ids)

    def portal(commands: Sequence[Command]) -> list[Answer]:
        answers = user_get(there, commands)
        if there and random.random() < 0.5:
            there.pop(random.randrange(len(there)))
        there.append((there[-1] if there else 0) + 1) if random.random() < 0.5 else None
        return answers

    rows = all_rows(KeysetWalk("user.get", {}), portal, room)
    found = [int(row["ID"]) for row in rows]
    assert sorted(set(found)) == found
    assert set(ids) & set(there) <= set(found)


def test_a_portal_that_ignores_the_keyset_filter_is_no_endless_loop() -> None:
    walk = KeysetWalk("user.get", {})
    first_page = [{"ID": str(number)} for number in range(1, 51)]
    walk.absorb([Answer(first_page, total=100) for _ in walk.plan(1, "a")])
    harvest = walk.absorb([Answer(first_page) for _ in walk.plan(1, "b")])
    assert harvest.refusal == Refusal("portal.no_progress", transient=True)


def test_users_without_an_id_are_handed_over_beside_the_others() -> None:
    walk = KeysetWalk("user.get", {})
    walk.plan(1, "a")
    (page,) = walk.absorb([Answer([{"ID": "3"}, {"NAME": "?"}], total=2)]).pages
    assert (page.rows, page.unidentified) == ([{"ID": "3"}], [{"NAME": "?"}])


def recent(listing: Sequence[int], commands: Sequence[Command]) -> list[Answer]:
    answers = []
    for command in commands:
        offset, limit = command.params["OFFSET"], command.params["LIMIT"]
        items = [{"id": f"chat{number}"} for number in listing[offset : offset + limit]]
        answers.append(Answer({"items": items, "hasMore": offset + limit < len(listing)}))
    return answers


@settings(max_examples=40, deadline=None)
@given(ids=IDS, limit=st.integers(1, 60), room=st.integers(1, 8))
def test_an_offset_walk_finds_every_row_although_rows_repeat(ids: list[int], limit: int, room: int) -> None:
    listing = [number for number in ids for _ in range(1 + (number % 5 == 0))]
    rows = all_rows(OffsetWalk("im.recent.list", {}, limit=limit), lambda commands: recent(listing, commands), room)
    assert sorted({int(row["id"][4:]) for row in rows}) == ids


def test_a_row_that_moves_up_between_two_pages_is_found_by_the_next_pass() -> None:
    listing = list(range(1, 11))

    def portal(commands: Sequence[Command]) -> list[Answer]:
        answers = recent(listing, commands)
        if listing[0] == 1:
            listing.insert(0, listing.pop())
        return answers

    rows = all_rows(OffsetWalk("im.recent.list", {}, limit=5), portal, 1)
    assert sorted(int(row["id"][4:]) for row in rows) == list(range(1, 11))


def test_a_list_that_always_claims_more_and_shows_nothing_is_refused() -> None:
    walk = OffsetWalk("im.recent.list", {})
    pages = 0
    for _ in range(20):
        harvest = walk.absorb([Answer({"items": [], "hasMore": True}) for _ in walk.plan(3, "a")])
        pages += harvest.used
        if harvest.refusal is not None:
            break
    assert (harvest.refusal, harvest.ended) == (Refusal("portal.empty_pages", transient=True), False)
    assert pages == 9


def test_an_empty_page_in_the_middle_hides_none_of_the_rows_behind_it() -> None:
    """Rows that its owner may not see are left out of a page."""
    listing = [*range(1, 201), *range(401, 501)]

    def portal(commands: Sequence[Command]) -> list[Answer]:
        answers = []
        for command in commands:
            offset, limit = command.params["OFFSET"], command.params["LIMIT"]
            items = [{"id": f"chat{number}"} for number in listing if offset < number <= offset + limit]
            answers.append(Answer({"items": items, "hasMore": offset + limit < 500}))
        return answers

    rows = all_rows(OffsetWalk("im.recent.list", {}), portal, 3)
    assert sorted({int(row["id"][4:]) for row in rows}) == listing


def test_a_refused_page_leaves_an_offset_walk_where_it_was() -> None:
    walk = OffsetWalk("im.recent.list", {}, limit=2)
    (before,) = walk.plan(1, "a")
    harvest = walk.absorb([Answer(refusal=Refusal("INTERNAL_SERVER_ERROR", transient=True))])
    assert harvest.refusal is not None
    assert walk.plan(1, "a") == [before]


def test_rows_of_a_list_that_are_no_objects_or_have_no_name_stop_nothing() -> None:
    walk = OffsetWalk("im.recent.list", {})
    walk.plan(1, "a")
    odd: list[Any] = [None, 5, [], "x", {"id": {"a": 1}}, {"id": None}, {"chat_id": 3}, {"id": "chat3", "chat_id": 3}]
    (page,) = walk.absorb([Answer({"items": odd, "hasMore": False})]).pages
    assert page.rows == [{"id": "chat3", "chat_id": 3}]
    assert page.unidentified == odd[:-1]


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(
        st.one_of(
            st.integers(0, 2000),
            st.integers(-(2**60), 2**60),
            st.integers(0, 2000).map(lambda number: f"chat{number}"),
            st.sampled_from(["", "chat", "sg7", "chat007", "007", "²", "7", "0", "chat-7"]),
        )
    )
)
def test_names_that_were_seen_are_known_by_what_they_say(names: list[int | str]) -> None:
    seen, plain = Names(), set[str]()
    for name in names:
        assert seen.add(name) == (str(name) not in plain)
        plain.add(str(name))


def test_a_name_of_thousands_of_digits_is_a_name() -> None:
    seen = Names()
    assert [seen.add("9" * 5_000), seen.add("9" * 5_000), seen.add("8" * 5_000)] == [True, False, True]


def test_twenty_thousand_names_take_little() -> None:
    seen = Names()
    tracemalloc.start()
    for number in range(0, 200_000, 10):
        seen.add(f"chat{number}")
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 300_000
