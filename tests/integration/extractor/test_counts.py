"""What a run says of itself comes from the store: a killed process takes no count with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.extractor.crashing import Killed
from tests.integration.extractor.extractor_world import Sent, World, remembering

from chatferry.extractor.steps.parts import Parts

pytestmark = pytest.mark.integration


class DyingAtTheEnd:
    """Family states of a process that is killed when all of its Get is done, a moment before it says so."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def set_entity(self, family: str, epoch: int, fields: Mapping[str, Any]) -> None:
        if fields.get("get", {}).get("whole"):
            raise Killed
        await self._inner.set_entity(family, epoch, fields)


async def test_a_run_whose_killed_process_moved_records_never_says_that_nothing_was_moved(world: World) -> None:
    sent: list[Sent] = []

    def hook(parts: Parts) -> Parts:
        parts, keep = remembering(parts)
        sent.append(keep)
        return replace(parts, families=DyingAtTheEnd(parts.families))

    run = await world.ask()
    with pytest.raises(Killed):
        await world.drive(run, hook)
    moved = [head for head in sent[0].headers() if head["ce_type"].endswith(b".extracted")]
    document = await world.drive(run)
    assert document["published"] == len(moved) > 0
    usage = document["portal_usage"]
    assert usage["batches"] > 0
    assert usage["commands"] >= usage["useful"] > 0


async def test_a_run_that_finds_nothing_new_says_zero(world: World) -> None:
    await world.get()
    run = await world.get()
    assert run["published"] == 0
    assert run["portal_usage"]["batches"] > 0


async def test_extracted_are_the_new_and_the_changed_of_chats_and_of_messages_alike(world: World) -> None:
    def extracted() -> dict[str, float]:
        counted = world.metrics.registry.get_sample_value
        return {
            entity: counted("records_extracted_total", {"entity": entity}) or 0 for entity in ("chats", "chat_messages")
        }

    await world.get()
    stored = {entity: await world.database[entity].count_documents({}) for entity in ("chats", "chat_messages")}
    assert extracted() == stored
    await world.get()
    assert extracted() == {"chats": 0, "chat_messages": 0}
    largest = max(world.portal.chats.values(), key=lambda chat: len(chat.log)).id
    number = next(number for number, row in world.truth(largest).items() if not row["deleted"])
    world.running.changes.edit(largest, number, "исправлено")
    world.running.changes.post(largest, 1, "новое")
    await world.get()
    assert extracted()["chat_messages"] == 2
