"""A target in front of the real one that fails on records drawn from a seed, as docs/target-protocol.md demands of
every server; it writes down the order in which it let messages through."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import orjson
from starlette.responses import Response
from tests.chaos.proxy import TargetProxy

Json = dict[str, Any]
FOR_EVER = 1_000_000
_FAULT = {"status": "error", "code": "NOT_KEPT", "message": "a fault that was asked for", "retryable": True}
_REFUSAL = {"status": "error", "code": "INVALID_DATA", "message": "a refusal that was asked for", "retryable": False}
_BEHIND = {"status": "error", "code": "BEHIND", "message": "an earlier one comes again first", "retryable": True}


@dataclass(frozen=True, slots=True)
class Faults:
    """`share` of the records of these entities fail 1 to `most` times, drawn by key; or are refused until healed."""

    seed: int
    share: float
    most: int = 0
    refused: bool = False
    entities: Sequence[str] = ("chats", "chat_messages")

    def of(self, key: str) -> int:
        """How often this record fails, 0 for most."""
        drawn = Random(f"{self.seed} {key}")
        if drawn.random() >= self.share:
            return 0
        return FOR_EVER if self.refused else drawn.randint(1, self.most)

    def among(self, keys: Iterable[str]) -> dict[str, int]:
        """Those of the keys that fail, and how often."""
        return {key: often for key in keys if (often := self.of(key))}


@dataclass(slots=True)
class Seen:
    """`failed`: how often each record was sent away. `order`: messages of each chat as they were taken for the first
    time."""

    failed: Counter[str] = field(default_factory=Counter)
    order: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    chats: set[int] = field(default_factory=set)
    orphans: int = 0

    def take(self, entity: str, data: Json) -> None:
        """The target has taken this record."""
        if entity == "chats":
            self.chats.add(data["id"])
        elif entity == "chat_messages":
            self.orphans += data["chat_id"] not in self.chats
            self.order[data["chat_id"]].append(data["id"])

    def inversions(self) -> int:
        """Messages that were let through after a later one of their chat, or before their chat."""
        return self.orphans + sum(_overtaken(numbers) for numbers in self.order.values())

    def messages(self) -> int:
        """How many were let through."""
        return sum(map(len, self.order.values()))


class FaultyTarget(TargetProxy):
    """`heal` ends all faults, `begin_anew` sets others."""

    def __init__(self, root: Path, faults: Faults | None = None) -> None:
        super().__init__(root, "faulty")
        self.faults, self.seen = faults, Seen()

    def heal(self) -> None:
        """From now on everything goes through."""
        self.faults = None

    def begin_anew(self, faults: Faults | None) -> Seen:
        """Other faults, and nothing seen yet."""
        self.faults, self.seen = faults, Seen()
        return self.seen

    async def answer(self, method: str, body: bytes) -> Response:
        if not method.endswith(".batch"):
            return await self.pass_on(method, body)
        wanted = orjson.loads(body)
        entity, items = wanted["entity"], wanted["items"]
        own = self._own_answers(entity, items)
        passing = [item for place, item in enumerate(items) if place not in own]
        results: list[Json] = []
        if passing:
            answer = await self.pass_on(method, orjson.dumps({"entity": entity, "items": passing}))
            if answer.status_code != httpx.codes.OK:
                return answer
            results = orjson.loads(answer.body)["results"]
            for item, result in zip(passing, results, strict=True):
                if result["status"] == "created":
                    self.seen.take(entity, item["data"])
        there = iter(results)
        merged = [own[place] if place in own else next(there) for place in range(len(items))]
        # Only what is told has failed.
        self.seen.failed.update(answer["key"] for answer in own.values() if answer["code"] != _BEHIND["code"])
        return Response(orjson.dumps({"results": merged}), media_type="application/json")

    def _own_answers(self, entity: str, items: Sequence[Json]) -> dict[int, Json]:
        """By place: what fails, and what has to wait behind it."""
        faults = self.faults
        if faults is None or entity not in faults.entities:
            return {}
        own: dict[int, Json] = {}
        held: set[int] = set()
        for place, item in enumerate(items):
            line = item["data"]["id" if entity == "chats" else "chat_id"]
            if line in held:
                own[place] = {"key": item["key"], **_BEHIND}
            elif self.seen.failed[item["key"]] < faults.of(item["key"]):
                own[place] = {"key": item["key"], **(_REFUSAL if faults.refused else _FAULT)}
                if not faults.refused:
                    held.add(line)
        return own


def _overtaken(numbers: Sequence[int]) -> int:
    highest, count = 0, 0
    for number in numbers:
        count += number < highest
        highest = max(highest, number)
    return count
