"""An open-loop HTTP generator: requests are sent when they are due, whether or not earlier ones were answered, and each
latency counts from when the request was due: a server that stalls is not spared those that would have come meanwhile.

`python -m tests.bench.generator URL KEY RATE SECONDS PAGE` prints JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import resource
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import httpx

_DEADLINE_S = 10.0
_MOST_CONNECTIONS = 500
_IDLE_S = 3.0
_LONG_MS = 50
_SEARCHES = ("отдел", "ПРОЕКТ", "ёлка", "sales 1", "склад 99")


@dataclass(slots=True)
class Tally:
    """What came of the requests."""

    latencies_ms: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    slowest_ms: dict[int, float] = field(default_factory=dict)
    """By the second in which they were due, where that was long."""


def paths(url: str, key: str, page: int) -> list[bytes]:
    """Requests of a page each: every page of every order, and some searches."""
    found = []
    with httpx.Client(base_url=url, headers={"x-api-key": key}, timeout=30) as http:
        for sort in ("title", "last_activity", "participants", "created"):
            query, cursor = f"sort={sort}&limit={page}", ""
            while True:
                found.append(f"/chats/all?{query}{cursor}")
                following = http.get(found[-1]).json()["next_cursor"]
                if following is None:
                    found.pop()  # the last one may be short
                    break
                cursor = f"&cursor={following}"
    found += [f"/chats/all?limit={page}&search={quote(search)}" for search in _SEARCHES] * (len(found) // 50)
    host = urlsplit(url).netloc
    return [f"GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Api-Key: {key}\r\n\r\n".encode() for path in found]


class Connections:
    """Kept alive; a new one is opened when none is free, as long as there are not too many."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        # Since when each is free: a server closes those that nobody uses, uvicorn after 5 s.
        self._free: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._room = asyncio.Semaphore(_MOST_CONNECTIONS)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        async with self._room:
            reader, writer = await self._one()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            self._free.append((time.monotonic(), reader, writer))
            return int(head[9:12]), body

    async def _one(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            since, reader, writer = self._free.pop()
            if time.monotonic() - since < _IDLE_S:
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        for _, _, writer in self._free:
            writer.close()


async def generate(url: str, requests: list[bytes], rate: float, seconds: float) -> tuple[Tally, float]:
    """Sends all that are due; and how long that took."""
    tally, rng, connections = Tally(), random.Random(11), Connections(url)
    tasks: set[asyncio.Task[None]] = set()

    async def one(due: float) -> None:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                status, body = await connections.ask(rng.choice(requests))
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as failure:
            tally.errors[type(failure).__name__] += 1
            return
        took_ms, second = (time.perf_counter() - due) * 1_000, int(due - began)
        tally.latencies_ms.append(took_ms)
        if took_ms > _LONG_MS:
            tally.slowest_ms[second] = max(took_ms, tally.slowest_ms.get(second, 0))
        if status != 200:
            tally.errors[str(status)] += 1
        elif b'"use_cached_participants":true' not in body:
            tally.errors["not all from the cache"] += 1

    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    took = time.perf_counter() - began
    connections.close()
    return tally, took


def main(url: str, key: str, rate: float, seconds: float, page: int) -> None:
    requests = paths(url, key, page)
    asyncio.run(generate(url, requests, rate, 2))  # connections, caches and code are warm
    gc.collect()
    gc.freeze()
    used = resource.getrusage(resource.RUSAGE_SELF)
    tally, took = asyncio.run(generate(url, requests, rate, seconds))
    now = resource.getrusage(resource.RUSAGE_SELF)
    cuts = statistics.quantiles(tally.latencies_ms, n=1_000, method="inclusive")
    found = {
        "due": int(rate * seconds),
        "answered": len(tally.latencies_ms),
        "errors": dict(tally.errors),
        "took_s": took,
        **{f"p{name}_ms": cuts[int(float(name) * 10) - 1] for name in ("50", "90", "99", "99.9")},
        "most_ms": max(tally.latencies_ms),
        "stalls_ms": {second: round(ms) for second, ms in sorted(tally.slowest_ms.items())},
        "generator_cpu": (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / took,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
