"""The shipped target as a process of its own, and a client that speaks the protocol."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

SECRET = "tests-webhook-secret"
_STARTS_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class TargetProcess:
    """A running target. `url` is `http://…/rest/{user}/{secret}`."""

    process: subprocess.Popen[bytes]
    base: str
    log: Path

    @property
    def url(self) -> str:
        return f"{self.base}/rest/1/{SECRET}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@contextmanager
def running_target(folder: Path, mongodb: str, project: str, **variables: str) -> Iterator[TargetProcess]:
    """Start a target and wait until it is ready; ends it, and only it, at the end of the block."""
    address, log = folder / f"{project}-{time.monotonic_ns()}.url", folder / f"{project}-{time.monotonic_ns()}.log"
    env = {
        **os.environ,
        "CHATFERRY_MONGODB": mongodb,
        "CHATFERRY_PROJECT": project,
        "CHATFERRY_CHAT_WEBHOOK_SECRET": SECRET,
        "CHATFERRY_ADDRESS_FILE": str(address),
        **variables,
    }
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "chatferry.chat"], env=env, stdout=out, stderr=out)
    try:
        yield TargetProcess(process, _ready(process, address, log), log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _ready(process: subprocess.Popen[bytes], address: Path, log: Path) -> str:
    until = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"the target ended: {log.read_text()[-2000:]}")
        if address.exists() and (base := address.read_text().strip()):
            try:
                if httpx.get(f"{base}/readyz", timeout=5).status_code == 200:
                    return base
            except httpx.TransportError:
                pass  # bound, not listening yet
        time.sleep(0.05)
    raise AssertionError(f"the target was not ready in {_STARTS_WITHIN_S} s: {log.read_text()[-2000:]}")


class Speaker:
    """Calls of the protocol on any server. `url` ends with `/rest/{user}/{secret}`."""

    def __init__(self, url: str, family: str = "chats") -> None:
        self.url = url.rstrip("/")
        self.family = family
        self.http = httpx.Client(timeout=60)

    def send(self, verb: str, body: Any) -> httpx.Response:
        """One call, whatever its answer."""
        return self.http.post(f"{self.url}/import.{self.family}.{verb}", json=body)

    def done(self, verb: str, **body: Any) -> dict[str, Any]:
        """One call that must be answered with 200."""
        answer = self.send(verb, body)
        assert answer.status_code == 200, (answer.status_code, answer.text[:500])
        result: dict[str, Any] = answer.json()
        return result

    def batch(self, entity: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Results of one batch, checked to be one per item in their order."""
        results: list[dict[str, Any]] = self.done("batch", entity=entity, items=items)["results"]
        assert [one["key"] for one in results] == [one["key"] for one in items]
        return results

    def statuses(self, entity: str, items: list[dict[str, Any]]) -> list[str]:
        """Statuses of one batch."""
        return [one["status"] for one in self.batch(entity, items)]

    def get(self, entity: str, *keys: str) -> list[dict[str, Any]]:
        """Records that must be there."""
        answer = self.done("get", entity=entity, keys=list(keys))
        assert answer["missing"] == []
        items: list[dict[str, Any]] = answer["items"]
        return items

    def walk(self, entity: str, **body: Any) -> Iterator[dict[str, Any]]:
        """Every record of a list, page by page."""
        after = None
        while True:
            page = self.done("list", entity=entity, after=after, **body)
            yield from page["items"]
            after = page["next"]
            if after is None:
                return

    def close(self) -> None:
        self.http.close()
