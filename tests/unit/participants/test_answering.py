"""By when readers are answered, and what of that is said to be the cache's."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.loop import run
from tests.unit.participants.readers import confirmed, entry, service
from tests.unit.participants.test_api import ALL_CACHED, LINKED, _cached, _page

from chatferry.participants.domain.counts import ChatId, Mark


@pytest.mark.parametrize(("deadline_ms", "waited_s"), [(400, 0.3), (30_000, 1.7), (None, 1.7)])
async def test_nobody_waits_beyond_the_deadline_nor_longer_than_the_service_lets(
    deadline_ms: int | None, waited_s: float
) -> None:
    one = await _cached()
    body = {"ids": [1], "fresh": True, "deadline_ms": deadline_ms}
    async with one.client() as http:
        assert (await http.post("/chats/participants", json=body)).status_code == 200
    assert one.sources.waits == [pytest.approx(waited_s, abs=0.05)], "what is left is for the answer"


@pytest.mark.parametrize("slow_s", [0.0, 0.04, 0.5], ids=["quick", "slow", "slower than anybody waits"])
@pytest.mark.parametrize(("path", "deadline_s"), [("/chats/participants", 0.4), ("/chats/all", 0.8)])
def test_the_answer_leaves_before_the_deadline_also_when_max_never_answers_and_the_cache_is_slow(
    slow_s: float, path: str, deadline_s: float
) -> None:
    async def asked() -> float:
        one = await service(LINKED, fresh_wait_s=0.8, change=lambda sources: sources.cached.update(ALL_CACHED))
        one.sources.silent, one.sources.slow_s = True, slow_s
        began = asyncio.get_running_loop().time()
        async with one.client() as http:
            if path == "/chats/all":
                answer = await http.get(path, params={"fresh_participants": "true"})
            else:
                body = {"ids": [1, 2], "fresh": True, "deadline_ms": int(deadline_s * 1_000)}
                answer = await http.post(path, json=body)
                assert answer.json()["incomplete"] == [1, 2]
        assert answer.status_code == 200
        return asyncio.get_running_loop().time() - began

    took_s = run(asked())
    assert took_s >= deadline_s / 2, "it waits as long as it may"
    assert took_s < deadline_s * 0.97, "time is left to write it"


def test_a_reader_who_does_not_wait_has_an_answer_by_the_deadline_too() -> None:
    async def asked() -> float:
        one = await _cached()
        one.sources.hangs = True
        began = asyncio.get_running_loop().time()
        async with one.client() as http:
            answer = await http.post("/chats/participants", json={"ids": [1], "deadline_ms": 50})
        assert answer.json()["counts"]["1"]["participants_count_state"] == "static"
        return asyncio.get_running_loop().time() - began

    assert run(asked()) < 0.05


async def test_counts_of_this_process_alone_are_no_hits_of_the_cache() -> None:
    one = await _cached()
    one.sources.elsewhere = True
    page = await _page(one)
    assert {chat["participants_count_state"] for chat in page["chats"]} == {"fresh"}
    assert page["use_cached_participants"] is False
    assert one.value("participants_counts_served_total", cache="hit") == 0
    assert one.value("participants_counts_served_total", cache="miss") == 5
    assert one.value("participants_cache_hit_rate") == 0


@pytest.mark.parametrize("mark", [Mark.PROVISIONAL, Mark.FROZEN, Mark.DENIED])
async def test_what_no_cache_can_make_fresh_is_neither_hit_nor_miss_unless_the_cache_is_away(mark: Mark) -> None:
    one = await service([entry(1, max_chat=-1), entry(2, max_chat=-2)])
    one.sources.cached |= {ChatId(1): confirmed(7, age_s=9, mark=mark), ChatId(2): confirmed(3)}
    page = await _page(one)
    assert page["use_cached_participants"] is True
    assert one.value("participants_counts_served_total", cache="hit") == 1
    assert one.value("participants_counts_served_total", cache="miss") == 0
    one.sources.elsewhere = True
    await _page(one)
    assert one.value("participants_counts_served_total", cache="miss") == 2
