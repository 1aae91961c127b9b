"""The running service while MAX refuses or answers nonsense: what is served and what stands in the cache stay right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from tests.integration.participants.replicas import Site
from tests.integration.participants.test_service import GENTLE, a_site

from chatferry.common.contracts.envelope import common_headers, record_headers
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing
from chatferry.simulators.max import Fault, FaultKind
from chatferry.simulators.max.settings import changed
from chatferry.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]
READ = "/chats/{id}"
FAULTS = [
    (FaultKind.DENIED, "denied"),
    (FaultKind.NOT_FOUND, "frozen"),
    (FaultKind.RATE_LIMIT, "fresh"),
    (FaultKind.SERVER_ERROR, "fresh"),
    (FaultKind.UNAVAILABLE, "fresh"),
    (FaultKind.HTML_502, "fresh"),
    (FaultKind.NOT_JSON, "fresh"),
    # Last: everybody rests for half a minute after it.
    (FaultKind.UNAUTHORIZED, "fresh"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with a_site(stack, tmp_path_factory.mktemp("site")) as site:
        await site.quiet()
        yield site


async def one(site: Site, chat: int, *, fresh: bool = False) -> dict[str, Any]:
    path = f"/chats/{chat}/participants"
    answer: dict[str, Any] = await site.get(path, fresh_participants=str(fresh).lower())
    return answer


async def in_the_cache(site: Site, chat: int) -> dict[str, Any]:
    async with Redis.from_url(site.stack.redis) as redis:
        value = await redis.get(f"{site.project}:chat_participants:{chat}")
    assert value is not None
    kept: dict[str, Any] = json.loads(value)
    return kept


@pytest.mark.parametrize(("kind", "state"), FAULTS)
async def test_what_max_does_not_tell_stays_as_it_was_known_in_the_answer_and_in_the_cache(
    site: Site, kind: FaultKind, state: str
) -> None:
    chat = sorted(site.truth())[[fault for fault, _ in FAULTS].index(kind)]
    before, kept = await one(site, chat), await in_the_cache(site, chat)
    assert before["participants_count"] == kept["count"] == site.truth()[chat]
    await asyncio.sleep(1.1)  # what is younger than a second is fresh enough
    site.max.world.faults.add(Fault(kind, READ, chat_id=chat))
    site.max.world.changes.move_silently(chat, 3)
    served = await one(site, chat, fresh=True)
    assert site.max.world.faults.given[kind] > 0, "MAX was asked"
    assert served == {**before, "participants_count_state": state}
    assert await in_the_cache(site, chat) == kept
    site.max.world.faults.clear()
    if kind is FaultKind.UNAUTHORIZED:
        async with httpx.AsyncClient() as http:
            ready = await http.get(f"{site.replicas[-1].url}/readyz")
        assert (ready.status_code, "token" in ready.text) == (200, True), ready.text
        return

    async def right_again() -> bool:
        now = await one(site, chat, fresh=True)
        return (now["participants_count"], now["participants_count_state"]) == (site.truth()[chat], "fresh")

    await site.until(right_again, "MAX tells again", 20)
    assert (await in_the_cache(site, chat))["count"] == site.truth()[chat]


async def _tell_of_a_chat(site: Site, chat: int, members: int) -> None:
    producer = RecordProducer(site.stack.kafka, client_id="tests")
    common = common_headers(f"/chatferry/{site.project}/portal", datetime.now(UTC), None)
    body = {"id": chat, "title": "портал", "participant_ids": list(range(members)), "created_at": None}
    headers = record_headers("k", 1, "t", common=common)
    try:
        await producer.send([Outgoing(f"{site.project}.chats", b"%d" % chat, json.dumps(body).encode(), headers)])
    finally:
        await producer.close()


async def test_each_state_shows_at_the_service_and_goes_once_max_tells(stack: Addresses, tmp_path: Any) -> None:
    async with a_site(stack, tmp_path, PARTICIPANTS_CACHE_TTL="10") as site:
        moved, refused, *_, left_alone = site.heard()
        known = site.truth()
        await _tell_of_a_chat(site, 17, 4)

        async def state_of(chat: int) -> tuple[int, str] | None:
            return (await site.served()).get(chat)

        async def shows(chat: int, count: int, state: str, *, fresh: bool = False) -> None:
            async def it_does() -> bool:
                if fresh:
                    await one(site, chat, fresh=True)
                return await state_of(chat) == (count, state)

            await site.until(it_does, f"{chat} is {state}", 20)

        await shows(17, 4, "static")
        site.max.world.faults.add(Fault(FaultKind.DENIED, READ, chat_id=refused))
        await shows(refused, known[refused], "denied", fresh=True)
        site.max.world.faults.add(Fault(FaultKind.UNAVAILABLE, READ))
        site.max.world.changes.add_user(moved)
        await shows(moved, known[moved] + 1, "provisional")
        await shows(left_alone, known[left_alone], "stale")
        assert await state_of(moved) == (known[moved] + 1, "provisional"), "no read has confirmed it"
        site.max.world.faults.clear()
        for chat, count in site.truth().items():
            if chat in (moved, refused, left_alone):
                await shows(chat, count, "fresh", fresh=True)
        await shows(17, 4, "static")


async def test_lost_shuffled_and_doubled_events_are_made_good_within_a_safety_interval(
    stack: Addresses, tmp_path: Any
) -> None:
    async with a_site(stack, tmp_path, PARTICIPANTS_SAFETY_INTERVAL="10", PARTICIPANTS_UPDATE_INTERVAL="10") as site:
        world = site.max.world
        disturbed = {"drop": 0.2, "duplicate": 0.3, "reorder": 0.3, "delay": 0.3, "hold_max_s": 2, "delay_max_s": 2}
        world.live.now = changed(GENTLE, {"delivery": disturbed})
        chats = sorted(site.truth())
        for number in range(120):
            change = world.changes.remove_user if number % 3 == 0 else world.changes.add_user
            change(chats[number * 7 % len(chats)])
            await asyncio.sleep(0.03)
        # What is held back or late comes within two seconds, and is confirmed a moment later.
        seconds = await site.until(site.exact, "every count is exact", 10 + 5)
        print(f"exact {seconds:.1f} s after the last change")
        assert world.traffic.summary(0)["reads_twice_at_once"] == 0
