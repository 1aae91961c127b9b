"""The live page: one file without anything from elsewhere, and the picture as JSON, on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import orjson

from chatferry.operator.counting.picture import Picture

_HTML = Path(__file__).with_name("page.html")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
_LOOKED_LATELY_S = 3.0


class Page:
    """`show` what is to be seen next. It is a thread of its own: whoever looks holds nothing up."""

    def __init__(self) -> None:
        self._html = _HTML.read_bytes()
        self._state = b"{}"
        self._looked_at = float("-inf")

    def show(self, picture: Picture) -> None:
        self._state = orjson.dumps(picture.as_json())

    @property
    def watched(self) -> bool:
        """Whether a browser has asked in the last seconds."""
        return time.monotonic() - self._looked_at < _LOOKED_LATELY_S

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, type, body."""
        if path == "/":
            return 200, "text/html; charset=utf-8", self._html
        if path == "/state.json":
            self._looked_at = time.monotonic()
            return 200, "application/json", self._state
        return 404, "text/plain", b"there is only /\n"


@contextmanager
def serve_page(page: Page) -> Iterator[str]:
    """Its URL, until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = page.answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.send_header("cache-control", "no-store")
            self.send_header("content-security-policy", _POLICY)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class' name
            """The terminal shows something else."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="page", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
