"""The running service while its Redis is stopped and started again: answers go on, and MAX is not stormed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from tests.integration.participants.replicas import Site
from tests.integration.participants.test_service import a_site
from tests.integration.redis_of_ours import RedisOfOurs

from chatferry.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


async def _away(site: Site) -> bool:
    async with httpx.AsyncClient() as http:
        return "redis" in (await http.get(f"{site.replicas[-1].url}/readyz")).text.lower()


async def _back(site: Site) -> bool:
    return not await _away(site)


async def _shares(site: Site) -> bool:
    """A machine that is busy may make Redis look away for half a second."""
    return bool((await site.get("/chats/all"))["use_cached_participants"])


async def test_answers_go_on_without_redis_and_its_return_on_an_empty_one_costs_no_reads(
    stack: Addresses, tmp_path: Path, server: RedisOfOurs
) -> None:
    async with a_site(stack, tmp_path, CHATFERRY_REDIS=server.url) as site:
        await site.until(lambda: _shares(site), "counts come from Redis", 10)
        await site.quiet()
        before, pages, stopping = site.max.world.traffic.reads_by_chat(0), 0, asyncio.Event()

        async def reading() -> None:
            nonlocal pages
            while not stopping.is_set():
                page = await site.get("/chats/all", limit=200)
                assert {chat["participants_count_state"] for chat in page["chats"]} <= {"fresh", "provisional"}
                pages += 1
                await asyncio.sleep(0.05)

        async def many_pages() -> bool:
            return pages > 50

        readers = asyncio.gather(*(reading() for _ in range(3)))
        try:
            server.kill()
            await site.until(lambda: _away(site), "it is noticed", 10)
            assert (await site.get("/chats/all"))["use_cached_participants"] is False
            moved = site.heard()[0]
            site.max.world.changes.add_user(moved)
            await site.until(site.exact, "an event moves a count, and a read confirms it, without Redis", 10)
            server.start()
            await site.until(lambda: _back(site), "Redis is back", 10)
            await asyncio.sleep(5)
            await site.until(many_pages, "readers are answered all along", 30)
            assert not readers.done(), readers
        finally:
            stopping.set()
            await readers
        assert await site.exact()
        await site.until(lambda: _shares(site), "counts come from Redis again", 10)
        reads = {
            chat: n - before[chat] for chat, n in site.max.world.traffic.reads_by_chat(0).items() if n > before[chat]
        }
        assert reads == {moved: 1}, "the one that the event wanted"
