"""Strangers around a project: a target that quotes in its errors what it was given, and a collector of spans."""

from __future__ import annotations

import gzip
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
from starlette.responses import Response
from tests.chaos.proxy import TargetProxy

Json = dict[str, Any]
CANARY, PHONE = "CANARYTEXT", "905123"
"""What each text that is moved has, with a number of its own; and what its telephone numbers begin with."""
REFUSED_EVERY = 40
CODES = ("what it was given", "a telephone number", "a word with a telephone number", "words in capitals")


class Quoting(TargetProxy):
    """Refuses some messages for good, now and then a whole call; and quotes what it was given."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "quoting")
        self.codes: Counter[str] = Counter()
        self._calls = 0

    async def answer(self, method: str, body: bytes) -> Response:
        if not method.endswith(".batch"):
            return await self.pass_on(method, body)
        self._calls += 1
        if self._calls % 5 == 0:
            return Response(b"cannot serve " + f"{self.url}/{method}".encode() + body[:2000], 500)
        wanted = orjson.loads(body)
        refused = {item["key"]: item for item in wanted["items"] if _is_refused(wanted["entity"], item["data"])}
        passing = [item for item in wanted["items"] if item["key"] not in refused]
        there: dict[str, Json] = {}
        if passing:
            answer = await self.pass_on(method, orjson.dumps({**wanted, "items": passing}))
            if answer.status_code != httpx.codes.OK:
                return answer
            there = {result["key"]: result for result in orjson.loads(answer.body)["results"]}
        for key, item in refused.items():
            there[key] = {"key": key, "status": "error", "retryable": False, **self._reason(item["data"])}
        results = [there[item["key"]] for item in wanted["items"]]
        return Response(orjson.dumps({"results": results}), media_type="application/json")

    def _reason(self, data: Json) -> dict[str, str]:
        """A code of each kind in its turn."""
        number, text = data["id"], data["text"]
        kind = CODES[number // REFUSED_EVERY % len(CODES)]
        self.codes[kind] += 1
        phone = f"7{PHONE}{number:04}"
        codes = (f"INVALID {text}", phone, f"CALL_{phone}", f"WRITE {CANARY} AT ONCE")
        return {"code": dict(zip(CODES, codes, strict=True))[kind], "message": text}


def _is_refused(entity: str, data: Json) -> bool:
    return entity == "chat_messages" and data["id"] % REFUSED_EVERY == 0


@dataclass(slots=True)
class Collector:
    """Takes spans as an OTLP collector does, and keeps their bytes."""

    bodies: list[bytes] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Collector:
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                bodies.append(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    _server: ThreadingHTTPServer = field(init=False)
    _thread: threading.Thread = field(init=False)
