"""A TCP relay in front of MongoDB that can be cut, so that an outage does not need anybody's MongoDB to stop."""

from __future__ import annotations

import select
import socket
import threading
from urllib.parse import urlsplit


class CuttableMongo:
    """Relays to `mongodb` (a URL) at `url`. While cut, connections are closed and new ones refused at once."""

    def __init__(self, mongodb: str) -> None:
        parts = urlsplit(mongodb)
        self._to = (str(parts.hostname), parts.port or 27017)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.1)
        self.url = f"mongodb://127.0.0.1:{self._listening.getsockname()[1]}/?directConnection=true"
        self._cut = threading.Event()
        self._closed = threading.Event()
        self._after_bytes: int | None = None
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._pumps: list[threading.Thread] = []
        self._thread.start()

    def cut(self) -> None:
        """MongoDB is away from now on."""
        self._cut.set()

    def cut_after(self, sent_bytes: int) -> None:
        """MongoDB goes away once one connection has carried so many more bytes to it, in the middle of a message."""
        self._after_bytes = sent_bytes

    def mend(self) -> None:
        """MongoDB is back."""
        self._after_bytes = None
        self._cut.clear()

    def close(self) -> None:
        self._closed.set()
        self._cut.set()
        for thread in (self._thread, *self._pumps):
            thread.join(5)
        self._listening.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listening.accept()
            except TimeoutError:
                continue
            if self._cut.is_set():
                near.close()
                continue
            pump = threading.Thread(target=self._pump, args=(near, socket.create_connection(self._to)), daemon=True)
            self._pumps.append(pump)
            pump.start()

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        sent = 0
        with near, far:
            while not self._cut.is_set():
                for ready in select.select([near, far], [], [], 0.05)[0]:
                    try:
                        data = ready.recv(16_384)
                        if not data:
                            return
                        (far if ready is near else near).sendall(data)
                    except OSError:
                        return
                    if ready is near and self._after_bytes is not None:
                        sent += len(data)
                        if sent > self._after_bytes:
                            self._cut.set()
