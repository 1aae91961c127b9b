"""Replicas of the participants service as processes, beside a simulated MAX in this one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from chatferry.simulators.max import Running, truth
from chatferry.stack import Addresses

ROOT = Path(__file__).resolve().parents[3]
KEY, SECRET = "a-key-of-tests", "a_secret_of_tests"
_READY_WITHIN_S = 40.0


@dataclass(slots=True)
class Replica:
    """One process. `url`: its base."""

    process: subprocess.Popen[bytes]
    address: Path
    log: Path

    @property
    def url(self) -> str:
        return self.address.read_text().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(25)


@dataclass(slots=True)
class Site:
    """A project with a MAX: starts replicas and asks them."""

    project: str
    stack: Addresses
    max: Running
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    replicas: list[Replica] = field(default_factory=list)

    def start(self, *, port: int = 0, **variables: str) -> Replica:
        """One more replica; it need not be ready yet."""
        name = f"{self.project}-{len(self.replicas)}-{time.monotonic_ns()}"
        address, log = self.folder / f"{name}.url", self.folder / f"{name}.log"
        env = {
            **os.environ,
            "CHATFERRY_PROJECT": self.project,
            "CHATFERRY_KAFKA": self.stack.kafka,
            "CHATFERRY_MONGODB": self.stack.mongodb,
            "CHATFERRY_REDIS": self.stack.redis,
            "CHATFERRY_REDIS_PREFIX": f"{self.project}:",
            "CHATFERRY_ADDRESS_FILE": str(address),
            "CHATFERRY_HTTP_PORT": str(port),
            "CHATFERRY_MAX_URL": self.max.http,
            "CHATFERRY_MAX_TOKEN_FILE": str(self.max.token_file),
            "CHATFERRY_API_KEYS": KEY,
            "CHATFERRY_MAX_WEBHOOK_SECRET": SECRET,
            "CHATFERRY_MAX_EVENTS": "webhook",
            "CHATFERRY_MAX_WEBHOOK_URL": "http://127.0.0.1:9",
            **self.settings,
            **variables,
        }
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "chatferry.participants"], env=env, stdout=out, stderr=out
            )
        replica = Replica(process, address, log)
        self.replicas.append(replica)
        return replica

    async def ready(self, replica: Replica) -> Replica:
        """Wait until it serves."""
        end = time.monotonic() + _READY_WITHIN_S
        async with httpx.AsyncClient(timeout=5) as http:
            while time.monotonic() < end:
                if replica.process.poll() is not None:
                    raise AssertionError(f"it ended: {replica.log.read_text()[-2_000:]}")
                if replica.address.exists() and replica.url:
                    try:
                        if (await http.get(f"{replica.url}/readyz")).status_code == 200:
                            return replica
                    except httpx.TransportError:
                        pass  # bound, not listening yet
                await asyncio.sleep(0.05)
        raise AssertionError(f"not ready in {_READY_WITHIN_S} s: {replica.log.read_text()[-2_000:]}")

    async def get(self, path: str, replica: Replica | None = None, **params: Any) -> Any:
        """What a reader is answered."""
        url = (replica or self.replicas[-1]).url
        async with httpx.AsyncClient(timeout=15) as http:
            answer = await http.get(f"{url}{path}", params=params, headers={"X-Api-Key": KEY})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def served(self, replica: Replica | None = None) -> dict[int, tuple[int, str]]:
        """Count and state of every chat that is listed."""
        found: dict[int, tuple[int, str]] = {}
        cursor: str | None = None
        while True:
            page = await self.get("/chats/all", replica, limit=200, **({"cursor": cursor} if cursor else {}))
            for chat in page["chats"]:
                found[chat["id"]] = chat["participants_count"], chat["participants_count_state"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    async def until(self, condition: Callable[[], Any], what: str, seconds: float = 30) -> float:
        """Wait until a condition (of a coroutine, or not) holds; the seconds that took."""
        began = time.monotonic()
        while True:
            told = condition()
            if asyncio.iscoroutine(told):
                told = await told
            if told:
                return time.monotonic() - began
            if time.monotonic() - began > seconds:
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{await self._story()}")
            await asyncio.sleep(0.1)

    async def _story(self) -> str:
        """Where what is served differs from the truth, and what the replicas said."""
        truth = {chat: (count, "fresh") for chat, count in self.truth().items()}
        served = await self.served()
        other = {
            chat: (served.get(chat), truth.get(chat)) for chat in served | truth if served.get(chat) != truth.get(chat)
        }
        logs = "\n".join(replica.log.read_text()[-3_000:] for replica in self.replicas)
        return f"served and true: {dict(list(other.items())[:10])} ({len(other)} differ)\n{logs}"

    def truth(self) -> dict[int, int]:
        """What MAX knows of the groups and channels that the bot is in; dialogs are not counted."""
        known = truth.counts(self.max.world)["counts"]
        return {int(chat): count for chat, count in known.items() if int(chat) < 0}

    async def quiet(self, seconds: float = 2.5) -> None:
        """Wait until MAX was asked for no count for so long: what the bot's arrival wanted is read."""
        reads, since = -1, time.monotonic()
        while time.monotonic() - since < seconds:
            if (now := self.max.world.traffic.summary(0)["reads"]) != reads:
                reads, since = now, time.monotonic()
            await asyncio.sleep(0.1)

    def heard(self) -> list[int]:
        """Chats of which MAX tells the bot what happens, in a fixed order."""
        return sorted(chat["chat_id"] for chat in truth.chats(self.max.world) if chat["events"] and chat["chat_id"] < 0)

    async def exact(self, replica: Replica | None = None) -> bool:
        """Whether every count is MAX's own, and confirmed."""
        return await self.served(replica) == {chat: (count, "fresh") for chat, count in self.truth().items()}
