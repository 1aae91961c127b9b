"""A target over HTTP that keeps what it is given as it is, and can be told to misbehave."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Item = dict[str, Any]
Fault = Callable[[str, dict[str, Any]], Response | None]


@dataclass(slots=True)
class FakeTarget:
    """`items`: entity → key → item. `fault(method, body)` may answer in place of the target."""

    url: str = ""
    items: dict[str, dict[str, Item]] = field(default_factory=dict)
    fault: Fault = lambda _method, _body: None
    calls: Counter[str] = field(default_factory=Counter)
    listed: Counter[str] = field(default_factory=Counter)

    def edit(self, entity: str, key: str) -> Item:
        """The data of one record, to be changed behind everybody's back: version and hash stay."""
        data: Item = self.items[entity][key]["data"]
        return data

    def keys(self, entity: str, parent: str | None = None) -> list[str]:
        rows = self.items.get(entity, {}).values()
        keys = [row["key"] for row in rows if parent is None or f"source:chat:{row['data'].get('chat_id')}" == parent]
        return sorted(keys, key=lambda key: int(key.rpartition(":")[2]))

    async def answer(self, request: Request) -> Response:
        method = request.path_params["method"].rpartition(".")[2]
        body = orjson.loads(await request.body())
        self.calls[method] += 1
        faulty = self.fault(method, body)
        if faulty is not None:
            return faulty
        return Response(orjson.dumps(getattr(self, f"_{method}")(body)), media_type="application/json")

    def _batch(self, body: Item) -> Item:
        rows = self.items.setdefault(body["entity"], {})
        for item in body["items"]:
            rows[item["key"]] = {"id": "1", **item}
        return {"results": [{"key": item["key"], "status": "created", "id": "1"} for item in body["items"]]}

    def _count(self, body: Item) -> Item:
        return {"count": len(self.keys(body["entity"], body.get("parent")))}

    def _get(self, body: Item) -> Item:
        rows = self.items.get(body["entity"], {})
        found = [rows[key] for key in body["keys"] if key in rows]
        return {"items": found, "missing": [key for key in body["keys"] if key not in rows]}

    def _list(self, body: Item) -> Item:
        self.listed[f"{body['entity']} {body.get('parent')}"] += 1
        keys = self.keys(body["entity"], body.get("parent"))
        start = int(body.get("after") or 0)
        page = keys[start : start + body["limit"]]
        following = start + len(page)
        rows = self.items.get(body["entity"], {})
        return {"items": [rows[key] for key in page], "next": str(following) if following < len(keys) else None}


@asynccontextmanager
async def fake_target() -> AsyncIterator[FakeTarget]:
    """The fake on a free port of this machine, in this very loop."""
    fake = FakeTarget()
    app = Starlette(routes=[Route("/rest/1/s/{method}", fake.answer, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    fake.url = f"http://127.0.0.1:{listening.getsockname()[1]}/rest/1/s"
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield fake
    finally:
        server.should_exit = True
        await task
        listening.close()
