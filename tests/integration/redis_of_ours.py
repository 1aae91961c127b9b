"""A redis-server of the test's own, with snapshots, that can be killed and started again on what lies in its folder."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis as Client
from redis.exceptions import RedisError

from chatferry.stack.process import free_port
from chatferry.stack.redis import Redis

_UP_S = 20.0


@dataclass
class RedisOfOurs:
    """`folder` holds its snapshot, `dump.rdb`; nothing is written there unless `save` is called."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = None

    @classmethod
    def in_folder(cls, folder: Path) -> RedisOfOurs:
        return cls(folder, free_port())

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns once it answers."""
        program = Redis(os.environ, self.folder / "bin").command(self.folder, {"client": self.port})[0]
        words = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _UP_S
        with Client.from_url(self.url) as client:
            while not self._answers(client):
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.02)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections, and answers nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @staticmethod
    def _answers(client: Client) -> bool:
        try:
            return bool(client.ping())
        except RedisError:
            return False

    def save(self) -> None:
        """A snapshot of now."""
        with Client.from_url(self.url) as client:
            client.save()

    def kill(self) -> None:
        """SIGKILL: what was not saved is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None
