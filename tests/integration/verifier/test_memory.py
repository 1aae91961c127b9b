"""How much the verifier asks for, and takes up, at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.integration.verifier.fake_target import FakeTarget
from tests.integration.verifier.verifier_world import World

from chatferry.common.entities import ENTITIES
from chatferry.verifier.adapters.findings import MongoVerdicts
from chatferry.verifier.adapters.runs import MongoRuns
from chatferry.verifier.adapters.target import HttpTarget

pytestmark = pytest.mark.integration
MESSAGES = ENTITIES["chat_messages"]


def item(number: int, letters: int) -> dict[str, Any]:
    key = f"source:chat:msg:{number}"
    return {"id": "1", "key": key, "version": 1, "hash": "h", "data": {"chat_id": 1, "text": "x" * letters}}


async def test_after_a_page_of_large_records_fewer_are_asked_for_until_they_are_small_again(
    world: World, fake: FakeTarget
) -> None:
    large, small = range(1, 200), range(200, 1_200)
    rows = [item(number, 80_000) for number in large] + [item(number, 10) for number in small]
    fake.items["chat_messages"] = {row["key"]: row for row in rows}
    target = HttpTarget(world.http, world.target_url, 100, world.context.metrics, world.context.clock)
    sizes: list[int] = []
    after, seen = None, 0
    while True:
        page = await target.page(MESSAGES, "source:chat:1", after)
        sizes.append(len(page.items))
        seen, after = seen + len(page.items), page.next
        if after is None:
            break
    assert seen == 1_199
    assert sizes[0] == 100
    assert sizes[1] * 80_000 < 4_194_304 < (sizes[1] + 2) * 80_000
    assert max(sizes[2:]) == 100


async def test_the_sample_is_taken_up_without_the_rest_of_the_verdicts(world: World) -> None:
    await world.ask()
    [run] = await MongoRuns(world.database).wanted()
    now = run.asked_at
    rows: list[dict[str, Any]] = [
        {"_id": "run-1/chat_messages/source:chat:1", "sample": ["a", "b"], "altered": [{}] * 100, "asked_at": now},
        {"_id": "run-1/chat_messages/source:chat:2", "sample": [], "asked_at": now},
        {"_id": "run-1/chat_messages/source:chat:3", "sample": ["c"], "asked_at": datetime(2024, 1, 1, tzinfo=UTC)},
        {"_id": "run-1/chats/*", "sample": ["d"], "asked_at": now},
        {"_id": "run-12/chat_messages/source:chat:1", "sample": ["e"], "asked_at": now},
    ]
    await world.database["verify_verdicts"].insert_many(rows)
    verdicts = MongoVerdicts(world.database, run, world.context.clock)
    assert [list(keys) async for keys in verdicts.samples(MESSAGES)] == [["a", "b"]]
