"""The participants service beside a project, on a MAX platform that fails now and then: it holds secrets of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from tests.chaos.frame import Chaos, Json

from chatferry.operator.counting.launching import Platform, platform_of
from chatferry.operator.counting.options import Options, Pace
from chatferry.operator.counting.platform import open_control
from chatferry.operator.launch import free_port, not_ready

NAME = "participants"
MAX_LOG = "max.log"
_CHATS = 12
_FAULTS = ("unauthorized", "server_error", "html_502", "not_json", "cut_body", "reset")


@dataclass(frozen=True, slots=True)
class Counting:
    """A running service: `token`, `key` and `webhook` are what it was given, `control` is the platform's."""

    url: str
    token: str
    key: str
    webhook: str
    control: str
    process: psutil.Process

    def read(self, key: str, **asked: str) -> int:
        """One page as a reader gets it; how it was answered."""
        headers = {"x-api-key": key}
        return httpx.get(f"{self.url}/chats/all", params=asked, headers=headers, timeout=10).status_code

    def tell(self, secret: str, body: bytes) -> int:
        """What claims to be an event of MAX; how it was answered."""
        headers = {"x-max-bot-api-secret": secret, "content-type": "application/json"}
        return httpx.post(f"{self.url}/max/updates", content=body, headers=headers, timeout=10).status_code

    def platform(self) -> Json:
        """What MAX has seen of it."""
        truth: Json = httpx.get(f"{self.control}/truth", timeout=10).raise_for_status().json()
        return truth

    def break_platform(self) -> None:
        """Each fault a few times."""
        for number, kind in enumerate(_FAULTS):
            fault = {"kind": kind, "paths": "/chats/*", "count": 2, "skip": 2 * number}
            httpx.post(f"{self.control}/faults", json=fault, timeout=10).raise_for_status()

    def go_on(self) -> None:
        """The bot is told of its chats, and people come and go from now on."""

        async def tell() -> None:
            async with open_control(self.control) as control:
                await control.announce()
                await control.resume()

        asyncio.run(tell())


@contextmanager
def counting(chaos: Chaos, settings: Mapping[str, str]) -> Iterator[Counting]:
    """Started and ready, and ended with the block."""
    folder, port = chaos.folder, free_port()
    platform = platform_of(folder, Options(chats=_CHATS, replicas=1), Pace(2.0, 0, 0, 0, 0.0))
    key, webhook = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    own = {
        **_environment(chaos, platform, port),
        "CHATFERRY_API_KEYS_FILE": str(folder.secret("participants.key", key)),
        "CHATFERRY_MAX_WEBHOOK_SECRET_FILE": str(folder.secret("max.webhook", webhook)),
        **settings,
    }
    with ExitStack() as ending:
        ending.enter_context(_running(platform.service.argv, {}, folder.logs / MAX_LOG))
        chaos.until(lambda: _answers(f"{platform.control}/truth/counts"), "the MAX platform answers")
        argv = (sys.executable, "-m", f"chatferry.{NAME}")
        process = ending.enter_context(_running(argv, own, folder.logs / f"{NAME}.log"))
        chaos.until(lambda: not_ready(folder, NAME) is None, f"{NAME} is ready")
        token = platform.token_file.read_text(encoding="utf-8").strip()
        yield Counting(f"http://127.0.0.1:{port}", token, key, webhook, platform.control, psutil.Process(process.pid))


def _environment(chaos: Chaos, platform: Platform, port: int) -> dict[str, str]:
    return {
        "CHATFERRY_PROJECT": chaos.project.name,
        "CHATFERRY_KAFKA": chaos.project.kafka,
        "CHATFERRY_MONGODB": chaos.project.mongodb,
        "CHATFERRY_REDIS": chaos.project.redis,
        "CHATFERRY_REDIS_PREFIX": f"{chaos.project.name}:",
        "CHATFERRY_HTTP_PORT": str(port),
        "CHATFERRY_ADDRESS_FILE": str(chaos.folder.addresses / f"{NAME}.url"),
        "CHATFERRY_MAX_URL": platform.url,
        "CHATFERRY_MAX_TOKEN_FILE": str(platform.token_file),
        "CHATFERRY_MAX_EVENTS": "webhook",
        "CHATFERRY_MAX_WEBHOOK_URL": f"http://127.0.0.1:{port}",
        "PARTICIPANTS_REPLICAS_MAX": "1",
    }


@contextmanager
def _running(argv: tuple[str, ...], own: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(argv, env={**os.environ, **own}, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False
