"""What lines are about is named once, around the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from chatferry.common.telemetry.logs import about, get_logger

Said = Callable[[], list[dict[str, Any]]]


async def test_lines_inside_and_of_tasks_begun_inside_name_entity_and_run_and_no_others_do(said: Said) -> None:
    log = get_logger("chatferry.tests")

    async def work() -> None:
        await asyncio.sleep(0)
        log.info("in a task")

    with about(entity="chats", run="r1"):
        task = asyncio.create_task(work())
        with about(entity="chat_messages"):
            log.info("within")
    log.info("after")
    await task
    named = [(line["event"], line.get("entity"), line.get("run")) for line in said()]
    assert named == [("within", "chat_messages", "r1"), ("after", None, None), ("in a task", "chats", "r1")]
