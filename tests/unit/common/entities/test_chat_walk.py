"""The walk through one chat against a model of the portal's paging."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.common.entities.model_chat import ModelChat, covers, walk_to_the_end

from chatferry.common.entities.chat_walk import PLANNED, ChatWalk
from chatferry.common.entities.reading import Answer, Command, Refusal

IDS = st.lists(st.integers(1, 400), unique=True, max_size=120).map(sorted)


def a_walk(**settings: Any) -> ChatWalk:
    return ChatWalk(7, "chat7", **settings)


@settings(max_examples=80, deadline=None)
@given(ids=IDS, page=st.integers(1, 12), unread=st.integers(0, 120), short=st.booleans(), seed=st.integers(0, 99))
def test_a_walk_lists_exactly_the_ids_up_to_the_watermark_in_intervals_that_meet(
    ids: list[int], page: int, unread: int, short: bool, seed: int
) -> None:
    random = Random(seed)
    chat = ModelChat(list(ids), unread=min(unread, len(ids)), short=short, random=random)

    def somebody_writes() -> None:
        if random.random() < 0.3:
            chat.ids.append((chat.ids[-1] if chat.ids else 0) + random.randint(1, 3))
            chat.unread = min(chat.unread + random.randint(0, 1), len(chat.ids))

    chat.between = somebody_writes
    walk = a_walk(page_size=page)
    walked = walk_to_the_end(walk, chat, lambda: random.randint(1, 8))

    watermark = walk.watermark or 0
    assert walked.ids == [number for number in chat.ids if number <= watermark]
    assert set(ids) <= set(walked.ids)
    assert covers(walked.pages, watermark + 1)
    assert walk.listed == len(walked.ids)
    assert len(walked.roots) == 1


@settings(max_examples=40, deadline=None)
@given(ids=IDS, page=st.integers(1, 12), seed=st.integers(0, 99))
def test_ids_erased_in_mid_walk_are_listed_at_most_once_and_intervals_still_meet(
    ids: list[int], page: int, seed: int
) -> None:
    random = Random(seed)
    chat = ModelChat(list(ids), random=random)
    left = set(ids)

    def somebody_erases() -> None:
        if chat.ids and random.random() < 0.3:
            left.discard(chat.ids.pop(random.randrange(len(chat.ids))))

    chat.between = somebody_erases
    walk = a_walk(page_size=page)
    walked = walk_to_the_end(walk, chat, lambda: random.randint(1, 8))

    assert len(walked.ids) == len(set(walked.ids))
    assert left - {n for n in left if n > (walk.watermark or 0)} <= set(walked.ids) <= set(ids)
    assert covers(walked.pages, (walk.watermark or 0) + 1)


@settings(max_examples=40, deadline=None)
@given(ids=IDS, page=st.integers(1, 12), failing=st.floats(0, 0.6), seed=st.integers(0, 99))
def test_refused_commands_leave_the_walk_where_it_was(ids: list[int], page: int, failing: float, seed: int) -> None:
    random = Random(seed)
    chat = ModelChat(list(ids), unread=len(ids) // 2, random=random)
    chat.refuse = lambda _: Refusal("INTERNAL_SERVER_ERROR", transient=True) if random.random() < failing else None
    walk = a_walk(page_size=page)
    walked = walk_to_the_end(walk, chat, lambda: random.randint(1, 8))
    assert walked.ids == list(ids)
    assert covers(walked.pages, (ids[-1] if ids else 0) + 1)


@settings(max_examples=50, deadline=None)
@given(ids=IDS.filter(bool), page=st.integers(1, 12), stop=st.integers(1, 20))
def test_a_walk_goes_on_in_another_process_from_its_state(ids: list[int], page: int, stop: int) -> None:
    chat = ModelChat(list(ids))
    first, pages = a_walk(page_size=page), []
    ended = False
    for n in range(stop):
        harvest = first.absorb(chat.batch(first.plan(first.needs(), f"a{n}")))
        pages += harvest.pages
        ended = harvest.ended
        if ended:
            break
    if not ended:
        second = a_walk(page_size=page)
        for name, value in first.state().items():
            setattr(second, name, value)
        pages += walk_to_the_end(second, chat).pages
    assert sorted(row["id"] for page_ in pages for row in page_.rows) == ids
    assert covers(pages, ids[-1] + 1)


@settings(max_examples=40, deadline=None)
@given(ids=IDS, page=st.integers(1, 12), rooms=st.integers(1, 6))
def test_the_planning_method_lists_the_same(ids: list[int], page: int, rooms: int) -> None:
    walk = a_walk(page_size=page, method=PLANNED)
    walked = walk_to_the_end(walk, ModelChat(list(ids)), lambda: rooms)
    assert walked.ids == ids
    assert covers(walked.pages, (ids[-1] if ids else 0) + 1)


@settings(max_examples=40, deadline=None)
@given(ids=IDS.filter(lambda ids: len(ids) > 3), page=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_planning_method_ends_although_its_offsets_shift(ids: list[int], page: int, seed: int) -> None:
    """What it missed is a gap, and the walk is made again by the real method."""
    random = Random(seed)
    chat = ModelChat(list(ids))

    def offsets_shift() -> None:
        if chat.ids and random.random() < 0.2:
            chat.ids.pop(random.randrange(len(chat.ids)))
        elif random.random() < 0.1:
            chat.ids.insert(0, 1) if 1 not in chat.ids else None

    chat.between = offsets_shift
    walked = walk_to_the_end(a_walk(page_size=page, method=PLANNED), chat, lambda: random.randint(1, 5))
    assert len(walked.ids) == len(set(walked.ids))
    assert [harvest.refusal for harvest in walked.harvests if harvest.refusal] == []


@settings(max_examples=50, deadline=None)
@given(ids=IDS, page=st.integers(1, 12), newest=st.integers(1, 30))
def test_a_test_limit_lists_the_newest_only(ids: list[int], page: int, newest: int) -> None:
    walk = a_walk(page_size=page, newest=newest)
    walked = walk_to_the_end(walk, ModelChat(list(ids)))
    assert walked.ids == ids[-newest:]
    assert walk.limited == (len(ids) >= newest)


def test_messages_are_held_back_until_the_chat_itself_is_complete() -> None:
    """A message without its chat could never be imported, if the chat vanished now."""
    chat = ModelChat([1, 2, 3], members=tuple(range(1, 501)), member_page=200)
    walk = a_walk()
    first = walk.absorb(chat.batch(walk.plan(50, "a")))
    assert first.root is None
    assert first.pages == []
    second = walk.absorb(chat.batch(walk.plan(50, "b")))
    assert (second.root, second.pages) == (None, [])
    third = walk.absorb(chat.batch(walk.plan(50, "c")))
    assert third.root is not None
    assert third.root["participant_ids"] == list(range(1, 501))
    assert [row["id"] for page in third.pages for row in page.rows] == [1, 2, 3]
    assert walk.state()["listed"] == 3


def refusing(method: str, code: str, *, transient: bool) -> ModelChat:
    chat = ModelChat([1, 2, 3])
    chat.refuse = lambda command: Refusal(code, transient=transient) if command.method == method else None
    return chat


@pytest.mark.parametrize("method", ["im.dialog.users.list", "im.chat.user.list"])
def test_one_list_of_participants_may_be_refused_for_good(method: str) -> None:
    walked = walk_to_the_end(a_walk(), refusing(method, "ACCESS_ERROR", transient=False))
    assert walked.roots[0]["participant_ids"] == [1, 2, 3]


@pytest.mark.parametrize("method", ["im.dialog.get", "im.dialog.users.list", "im.chat.user.list"])
def test_a_part_that_is_refused_for_now_is_asked_for_again(method: str) -> None:
    walk, chat = a_walk(), refusing(method, "INTERNAL_SERVER_ERROR", transient=True)
    harvest = walk.absorb(chat.batch(walk.plan(50, "a")))
    assert harvest.refusal is not None
    assert harvest.refusal.transient
    assert harvest.pages == []
    chat.refuse = lambda _: None
    assert walk_to_the_end(walk, chat).ids == [1, 2, 3]


def test_a_chat_that_may_not_be_read_is_refused_with_the_portals_code() -> None:
    walk = a_walk()
    harvest = walk.absorb(refusing("im.dialog.get", "ACCESS_ERROR", transient=False).batch(walk.plan(50, "a")))
    assert harvest.refusal == Refusal("ACCESS_ERROR", transient=False)


def test_rows_without_an_id_are_handed_over_beside_the_others() -> None:
    walk = a_walk()
    commands = walk.plan(50, "a")
    page = {"messages": [{"id": 5}, {"text": "nobody"}, {"id": "x"}, {"id": 0}]}
    dialog = {"id": 7, "message_count": 4, "last_message_id": 5}
    harvest = walk.absorb([Answer(dialog), Answer([]), Answer([]), Answer(page)])
    assert len(commands) == 4
    assert [list(one.unidentified) for one in harvest.pages] == [[{"text": "nobody"}, {"id": "x"}, {"id": 0}]]


@settings(max_examples=150, deadline=None)
@given(ids=IDS, page=st.integers(2, 12), unread=st.integers(0, 120), stop=st.integers(0, 9), data=st.data())
def test_each_row_without_an_id_is_handed_over_once_whichever_pages_show_it(
    ids: list[int], page: int, unread: int, stop: int, data: st.DataObject
) -> None:
    """One at the end of a page comes again: the next page begins behind the last id that is known."""
    nameless = frozenset(data.draw(st.sets(st.sampled_from(ids)))) if ids else frozenset[int]()
    # A page of nothing else would say nothing of where the next one begins.
    assume(all(set(ids[start : start + page]) - nameless for start in range(len(ids) - page + 1)))
    chat = ModelChat(list(ids), nameless, unread=min(unread, len(ids)))
    walk = a_walk(page_size=page)
    harvests = []
    for n in range(stop):
        harvests.append(walk.absorb(chat.batch(walk.plan(max(walk.needs(), 2), f"s{n}"))))
        if harvests[-1].ended:
            break
    else:
        walk = a_walk(page_size=page, **walk.state()) if walk.complete else walk
        harvests += walk_to_the_end(walk, chat, lambda: 3).harvests
    pages = [one for harvest in harvests for one in harvest.pages]
    assert sorted(int(row["text"]) for one in pages for row in one.unidentified) == sorted(nameless)
    assert sorted(int(row["id"]) for one in pages for row in one.rows) == sorted(set(ids) - nameless)


def test_a_portal_that_answers_pages_from_elsewhere_is_no_endless_loop() -> None:
    walk = a_walk(page_size=2)
    chat = ModelChat([1, 2, 3, 4, 5, 6])
    walk.absorb(chat.batch(walk.plan(4, "a")))

    def always_the_newest(commands: Sequence[Command]) -> list[Answer]:
        return [Answer({"messages": [{"id": 6}, {"id": 5}]}) for _ in commands]

    harvest = walk.absorb(always_the_newest(walk.plan(3, "b")))
    assert harvest.refusal == Refusal("portal.no_progress", transient=True)


@pytest.mark.parametrize(("members", "ids"), [([{"id": 1}, {"name": "?"}], [1]), ([{"id": 1}], [1, None])])
def test_a_participant_whom_no_list_names_makes_the_set_a_partial_one(members: list[Any], ids: list[Any]) -> None:
    walk = a_walk()
    walk.plan(50, "a")
    dialog = {"id": 7, "message_count": 0, "last_message_id": None}
    harvest = walk.absorb([Answer(dialog), Answer(members), Answer(ids), Answer({"messages": []})])
    assert harvest.root is not None
    assert (harvest.root["participant_ids"], harvest.root["participants_partial"]) == ([1], True)


@pytest.mark.parametrize(
    ("members", "owner", "managers", "participants"),
    [([2], 1, [1, 3], [1, 2, 3]), ([2], None, [], [2]), ([], 1, [], [1]), ([], 0, [3], [3])],
)
def test_an_empty_list_of_participants_is_a_refused_one_where_anybody_is_named(
    members: list[int], owner: int | None, managers: list[int], participants: list[int]
) -> None:
    walk = a_walk()
    walk.plan(50, "a")
    dialog = {"id": 7, "message_count": 0, "last_message_id": None, "owner": owner, "manager_list": managers}
    shown = Answer([{"id": number} for number in members])
    harvest = walk.absorb([Answer(dialog), shown, Answer([]), Answer({"messages": []})])
    assert harvest.root is not None
    assert (harvest.root["participant_ids"], harvest.root["participants_partial"]) == (participants, True)


def test_a_chat_that_nobody_is_named_in_has_no_participants() -> None:
    walk = a_walk()
    walk.plan(50, "a")
    dialog: dict[str, Any] = {"id": 7, "message_count": 0, "last_message_id": None, "owner": 0, "manager_list": []}
    harvest = walk.absorb([Answer(dialog), Answer([]), Answer([]), Answer({"messages": []})])
    assert harvest.root is not None
    assert (harvest.root["participant_ids"], harvest.root["participants_partial"]) == ([], False)
