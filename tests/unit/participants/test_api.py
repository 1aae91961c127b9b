"""What readers are answered: as much as is known, at once, and one clear sentence when they ask for nonsense."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.participants.readers import Service, confirmed, entry, service

from chatferry.participants.domain.catalogue import Entry
from chatferry.participants.domain.counts import ChatId, Mark
from chatferry.participants.domain.plan import Urgency

LINKED = [entry(chat, f"чат {chat}", max_chat=-chat) for chat in range(1, 6)]
ALL_CACHED = {ChatId(chat): confirmed(100 + chat, age_s=60) for chat in range(1, 6)}


async def _page(one: Service, **query: str | int) -> dict[str, Any]:
    answer = await one.got("/chats/all", **query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def _cached(entries: list[Entry] | None = None) -> Service:
    return await service(entries or LINKED, change=lambda sources: sources.cached.update(ALL_CACHED))


async def _settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_page_says_of_each_chat_how_many_how_old_and_how_sure() -> None:
    one = await _cached([entry(1, "чат", max_chat=-7, created_ms=1_500_000_000_123, activity_ms=None)])
    page = await _page(one)
    assert page == {
        "chats": [
            {
                "id": 1,
                "title": "чат",
                "created_at": "2017-07-14T02:40:00.123Z",
                "last_activity_at": None,
                "participants_count": 101,
                "participants_count_updated_at": "2025-12-31T23:59:00.000Z",
                "participants_count_state": "fresh",
                "max_chat_id": -7,
            }
        ],
        "next_cursor": None,
        "use_cached_participants": True,
        "total": 1,
    }


async def test_a_page_costs_one_round_trip_and_asks_nobody_when_all_is_fresh() -> None:
    one = await _cached()
    await _page(one)
    await _settled()
    assert [sorted(load) for load in one.sources.loads] == [[1, 2, 3, 4, 5]]
    assert one.sources.asked == []


async def test_pages_follow_one_another_to_the_end() -> None:
    one = await _cached()
    first = await _page(one, sort="title", order="desc", limit=3)
    second = await _page(one, sort="title", order="desc", limit=3, cursor=first["next_cursor"])
    assert [chat["id"] for chat in first["chats"] + second["chats"]] == [5, 4, 3, 2, 1]
    assert (first["total"], second["next_cursor"]) == (5, None)


@pytest.mark.parametrize(
    ("known", "state", "updated"),
    [
        (confirmed(7, age_s=3_600), "fresh", "2025-12-31T23:00:00.000Z"),
        (confirmed(7, age_s=3_601), "stale", "2025-12-31T22:59:59.000Z"),
        (confirmed(7, age_s=1, mark=Mark.PROVISIONAL), "provisional", "2025-12-31T23:59:59.000Z"),
        (confirmed(7, age_s=9_000, mark=Mark.FROZEN), "frozen", "2025-12-31T21:30:00.000Z"),
        (confirmed(7, age_s=9_000, mark=Mark.DENIED), "denied", "2025-12-31T21:30:00.000Z"),
        (None, "static", None),
    ],
)
async def test_every_state_is_told(known: Any, state: str, updated: str | None) -> None:
    one = await service([entry(1, max_chat=-1, static=7, counted=known)])
    [chat] = (await _page(one))["chats"]
    assert chat["participants_count"] == 7
    assert chat["participants_count_state"] == state
    assert chat["participants_count_updated_at"] == updated


async def test_without_a_cached_count_the_catalogues_own_is_served() -> None:
    one = await service([entry(1, max_chat=-1, counted=confirmed(9)), entry(2, static=4)])
    page = await _page(one, sort="created", order="asc")
    assert [chat["participants_count"] for chat in page["chats"]] == [9, 4]
    assert page["use_cached_participants"] is False


async def test_the_newer_read_is_served_wherever_it_is() -> None:
    one = await service([entry(1, max_chat=-1, counted=confirmed(9, age_s=1))])
    one.sources.cached[ChatId(1)] = confirmed(8, age_s=2)
    [chat] = (await _page(one))["chats"]
    assert chat["participants_count"] == 9


@pytest.mark.parametrize("mark", [Mark.PROVISIONAL, Mark.FROZEN])
async def test_what_an_event_has_made_of_a_read_is_served_before_the_read_wherever_it_is(mark: Mark) -> None:
    one = await service([entry(1, max_chat=-1, counted=confirmed(11, age_s=5, mark=mark))])
    one.sources.cached[ChatId(1)] = confirmed(10, age_s=5)
    [chat] = (await _page(one))["chats"]
    assert (chat["participants_count"], chat["participants_count_state"]) == (11, mark.value)
    one = await service([entry(1, max_chat=-1, counted=confirmed(10, age_s=5))])
    one.sources.cached[ChatId(1)] = confirmed(11, age_s=5, mark=mark)
    [chat] = (await _page(one))["chats"]
    assert (chat["participants_count"], chat["participants_count_state"]) == (11, mark.value)


async def test_a_chat_that_max_does_not_have_is_not_looked_for_in_the_cache() -> None:
    one = await service([entry(1, static=4)])
    one.sources.cached[ChatId(1)] = confirmed(99)
    [chat] = (await _page(one))["chats"]
    assert (chat["participants_count"], chat["participants_count_state"]) == (4, "static")
    await _settled()
    assert one.sources.asked == []


@pytest.mark.parametrize("fault", ["away", "hangs"])
@pytest.mark.parametrize("fresh", ["false", "true"])
async def test_while_redis_is_away_the_catalogues_counts_are_served_within_the_same_time(
    fault: str, fresh: str
) -> None:
    one = await service([entry(1, max_chat=-1, counted=confirmed(9, age_s=7))], fresh_wait_s=0.2)
    setattr(one.sources, fault, True)
    async with asyncio.timeout(2):
        page = await _page(one, fresh_participants=fresh)
    assert page["use_cached_participants"] is False
    assert page["chats"][0]["participants_count"] == 9


async def test_what_is_stale_or_was_never_read_is_asked_for_once_a_minute_and_not_waited_for() -> None:
    stale = confirmed(1, age_s=4_000)
    one = await service(
        [entry(1, max_chat=-1, counted=stale), entry(2, max_chat=-2), entry(3), entry(4, max_chat=-4)],
        change=lambda sources: sources.cached.update({ChatId(4): confirmed(5)}),
    )
    for _ in range(3):
        await _page(one)
        await _settled()
    assert one.sources.asked == [(frozenset({1, 2}), Urgency.ASKED)]
    assert one.sources.waits == []
    one.clock.seconds += 61
    await _page(one)
    await _settled()
    assert len(one.sources.asked) == 2


@pytest.mark.parametrize("mark", [Mark.FROZEN, Mark.DENIED, Mark.PROVISIONAL])
async def test_what_no_read_would_change_is_not_asked_for(mark: Mark) -> None:
    one = await service([entry(1, max_chat=-1, counted=confirmed(1, age_s=9_000, mark=mark))])
    await _page(one)
    await _settled()
    assert one.sources.asked == []


async def test_fresh_counts_are_asked_for_waited_for_and_served() -> None:
    one = await _cached()
    one.sources.brings = {ChatId(chat): confirmed(200 + chat) for chat in range(1, 6)}
    page = await _page(one, sort="title", fresh_participants="true")
    assert [chat["participants_count"] for chat in page["chats"]] == [201, 202, 203, 204, 205]
    assert one.sources.asked == [(frozenset({1, 2, 3, 4, 5}), Urgency.ASKED)]
    assert one.sources.waits == [pytest.approx(1.7, abs=0.05)]


async def test_a_fresh_count_that_does_not_come_is_the_best_known_one() -> None:
    one = await _cached()
    one.sources.brings = {ChatId(1): confirmed(201)}
    page = await _page(one, sort="title", fresh_participants="true")
    assert [chat["participants_count"] for chat in page["chats"]] == [201, 102, 103, 104, 105]


async def test_what_was_read_within_the_second_is_fresh_enough() -> None:
    one = await service([entry(1, max_chat=-1)], change=lambda s: s.cached.update({ChatId(1): confirmed(5, age_s=0.9)}))
    await _page(one, fresh_participants="true")
    assert one.sources.asked == []


async def test_many_counts_are_answered_with_what_is_unknown_and_what_did_not_come_in_time() -> None:
    one = await _cached([*LINKED, entry(9, static=3)])
    one.sources.brings = {ChatId(1): confirmed(201)}
    async with one.client() as http:
        answer = await http.post("/chats/participants", json={"ids": [2, 1, 9, 77, 2, -5], "fresh": True})
    assert answer.status_code == 200
    found = answer.json()
    assert {chat: one["participants_count"] for chat, one in found["counts"].items()} == {"1": 201, "2": 102, "9": 3}
    assert found["unknown"] == [77, -5]
    assert found["incomplete"] == [2]


async def test_one_chats_count_or_404() -> None:
    one = await _cached()
    answer = await one.got("/chats/3/participants")
    assert answer.json() == {
        "id": 3,
        "participants_count": 103,
        "participants_count_updated_at": "2025-12-31T23:59:00.000Z",
        "participants_count_state": "fresh",
    }
    missing = await one.got("/chats/-9223372036854775808/participants")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "UNKNOWN_CHAT")


async def test_a_chat_is_linked_and_its_link_ended() -> None:
    one = await service([entry(1), entry(2, max_chat=-20)])
    async with one.client() as http:
        linked = await http.put("/chats/1/max", json={"max_chat_id": -(2**63)})
        unknown = await http.put("/chats/3/max", json={"max_chat_id": -1})
        # Nobody has told this replica's view of the first link yet.
        taken = await http.put("/chats/2/max", json={"max_chat_id": -(2**63)})
        ended = await http.put("/chats/1/max", json={"max_chat_id": None})
        again = await http.put("/chats/2/max", json={"max_chat_id": -(2**63)})
    assert linked.json() == {"id": 1, "max_chat_id": -(2**63)}
    assert taken.json()["error"]["code"] == "MAX_CHAT_TAKEN"
    assert [answer.status_code for answer in (linked, unknown, taken, ended, again)] == [200, 404, 409, 200, 200]
    assert one.links.links == [(1, -(2**63)), (1, None), (2, -(2**63))]


async def test_after_a_link_the_count_of_the_chat_before_is_forgotten_and_a_new_one_asked_for() -> None:
    one = await service([entry(1, max_chat=-20)])
    one.sources.cached |= {ChatId(1): confirmed(500), ChatId(-30): confirmed(7)}
    async with one.client() as http:
        await http.put("/chats/1/max", json={"max_chat_id": -30})
    assert one.sources.cached == {}
    assert one.sources.asked == [(frozenset({1, -30}), Urgency.CHANGED)]


async def test_a_chat_that_only_max_has_may_be_taken_over_and_is_not_linked_itself() -> None:
    one = await service([entry(1), entry(-20, max_chat=-20)])
    async with one.client() as http:
        assert (await http.put("/chats/1/max", json={"max_chat_id": -20})).status_code == 200
        assert (await http.put("/chats/-20/max", json={"max_chat_id": -21})).status_code == 409


@pytest.mark.parametrize("body", [b"{}", b'{"max_chat_id": 5}', b'{"max_chat_id": "-5"}', b'{"max_chat_id": 0}', b"[]"])
async def test_a_link_to_what_is_no_group_is_422(body: bytes) -> None:
    one = await service([entry(1)])
    async with one.client() as http:
        assert (await http.put("/chats/1/max", content=body)).status_code == 422
    assert one.links.links == []


async def test_while_mongodb_is_away_a_link_is_503_and_pages_are_served() -> None:
    one = await _cached()
    one.links.away = True
    async with one.client() as http:
        answer = await http.put("/chats/1/max", json={"max_chat_id": -9})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert (await http.get("/chats/all")).status_code == 200


async def test_before_the_chats_were_read_nobody_is_told_that_there_are_none() -> None:
    one = await service(filled=False)
    answer = await one.got("/chats/all")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("ms", [2**62, -(2**62), 253_402_300_800_000])
async def test_a_time_that_no_date_can_say_is_null(ms: int) -> None:
    one = await service([entry(1, activity_ms=ms, created_ms=-1)])
    [chat] = (await _page(one))["chats"]
    assert (chat["last_activity_at"], chat["created_at"]) == (None, "1969-12-31T23:59:59.999Z")


async def test_reads_are_told_to_the_metrics() -> None:
    one = await _cached([*LINKED[:2], entry(8, max_chat=-8), entry(9)])
    await _page(one)
    await one.got("/chats/all", limit="absurd")
    assert one.value("participants_counts_served_total", cache="hit") == 2
    assert one.value("participants_counts_served_total", cache="miss") == 1
    assert one.value("participants_served_age_seconds_sum") == 120
    assert one.value("participants_api_seconds_count", call="page", status="200") == 1
    assert one.value("participants_api_seconds_count", call="page", status="422") == 1


async def test_wishes_are_bounded_and_an_outage_ends_none_of_the_readers() -> None:
    many = [entry(chat, f"{chat}", max_chat=-chat) for chat in range(1, 1_001)]
    one = await service(many, change=lambda sources: setattr(sources, "away", True))
    async with one.client() as http:
        answer = await http.post("/chats/participants", json={"ids": list(range(1, 1_001))})
    assert answer.status_code == 200
    one.sources.away = False
    one.clock.seconds += 61
    async with one.client() as http:
        await http.post("/chats/participants", json={"ids": list(range(1, 1_001))})
    begun = one.clock.seconds
    while len(one.sources.wishes) < 1_000:
        await _settled()
    assert one.sources.wishes == list(range(1, 1_001))
    # Whoever waits for a read stands behind no more of them than a second's.
    assert max(len(chats) for chats, _ in one.sources.asked) == 6
    assert one.clock.seconds - begun >= 1_000 / 6 - 1


@pytest.mark.parametrize("where", ["the shared cache", "the catalogue"])
async def test_what_was_read_before_its_turn_came_is_not_read_again(where: str) -> None:
    stale = {chat: entry(chat, f"{chat}", max_chat=-chat, counted=confirmed(1, age_s=4_000)) for chat in range(1, 101)}
    one = await service(list(stale.values()))
    async with one.client() as http:
        await http.post("/chats/participants", json={"ids": list(stale)})
    while not one.sources.wishes:  # noqa: ASYNC110 - a fake tells nobody
        await asyncio.sleep(0)
    assert one.sources.wishes == list(range(1, 7))
    for chat in range(7, 100):
        if where == "the shared cache":
            one.sources.cached[ChatId(chat)] = confirmed(5)
        else:
            one.view.learn(replace(stale[chat], counted=confirmed(5)))
    begun = one.clock.seconds
    await _settled()
    assert one.sources.wishes == [*range(1, 7), 100]
    assert one.clock.seconds - begun < 2, "who left has taken no time of the others'"
