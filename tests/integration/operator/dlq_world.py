"""A project with an importer and a target, and the `chatferry dlq` command beside it, as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.importer.world import World, chat, message

from chatferry.operator.folder import Folder, Project


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


@dataclass
class Desk:
    """Where an operator sits."""

    world: World
    folder: Folder

    @asynccontextmanager
    async def running(self, *words: str, columns: int = 130) -> AsyncIterator[asyncio.subprocess.Process]:
        """The command, killed at the end if it has not ended."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from chatferry.operator.cli import main; main()", "dlq", *words),
            env={**os.environ, "CHATFERRY_LOCAL": str(self.folder.root), "COLUMNS": str(columns)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def dlq(self, *words: str, columns: int = 130) -> Said:
        """Run it to its end."""
        async with self.running(*words, columns=columns) as process:
            async with asyncio.timeout(90):
                out, err = await process.communicate()
        return Said(process.returncode or 0, out.decode(), err.decode())

    async def listed(self, *words: str) -> dict[str, Any]:
        """`list --json`."""
        said = await self.dlq("list", "--json", *words)
        assert said.code == 0, said
        found: dict[str, Any] = json.loads(said.out)
        return found

    async def chat_with_messages(self, chat_id: int, count: int) -> None:
        """A chat and its messages, published."""
        await self.world.publish("chats", [chat(chat_id)])
        await self.world.publish("chat_messages", [message(chat_id * 1000 + n, chat_id) for n in range(count)])

    def refuse(self, *keys: str, code: str = "NO", retryable: bool = False) -> None:
        """The target takes none of these."""
        for key in keys:
            self.world.target.refuse_items[key] = {"code": code, "retryable": retryable}

    async def until_copied(self, count: int, seconds: float = 20) -> None:
        """Wait for so many dead letters, each written down whole."""

        async def there() -> bool:
            return bool(await self.world.database.dead_letters.count_documents({"copied": True}) == count)

        await self.world.until(there, f"{count} dead letters", seconds)

    async def states(self) -> dict[str, int]:
        """Dead letters by state."""
        counts: dict[str, int] = {}
        async for row in self.world.database.dead_letters.aggregate([{"$group": {"_id": "$state", "n": {"$sum": 1}}}]):
            counts[row["_id"]] = row["n"]
        return counts


def msg(number: int) -> str:
    """A message's key."""
    return f"source:chat:msg:{number}"


def desk_of(world: World, root: Path) -> Desk:
    """The folder that the command finds the project in."""
    folder = Folder(root)
    addresses = world.addresses
    folder.save(
        Project(
            name=world.project,
            kafka=addresses.kafka,
            mongodb=addresses.mongodb,
            redis=addresses.redis,
            portal_host="portal.test",
            webhooks_file="",
            target_url=world.target.url.partition("/rest/")[0],
            rest_url_file="",
            portal_url="http://portal.test",
        )
    )
    return Desk(world, folder)
