"""Several projects one after the other on one stack, so that two of them can be compared: same machine, same minute."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.chaos.frame import Chaos, Json

_SILENT_S = 30.0
_WORDS = (
    "план",
    "встреча",
    "отчёт",
    "срочно",
    "договор",
    "клиент",
    "завтра",
    "проверить",
    "счёт",
    "😀",
    "[b]важно[/b]",
)


def write_portal(folder: Path, seed: int, chats: int, each: int) -> Path:
    """A portal whose chats are all of one size, their messages mixed: no chat is much longer at work than another."""
    draw = Random(seed)
    users = [{"id": n, "name": f"Участник {n}", "active": True} for n in range(1, 31)]
    rooms: list[Json] = [
        {
            "id": number,
            "type": "group",
            "title": f"Чат {number}",
            "created_at": "2024-01-01T10:00:00+03:00",
            "owner_id": (members := draw.sample(range(1, 31), 5))[0],
            "participant_ids": sorted(members),
        }
        for number in range(1, chats + 1)
    ]
    turns = [room for room in rooms for _ in range(each)]
    draw.shuffle(turns)
    messages = [
        {
            "id": number,
            "chat_id": room["id"],
            "author_id": draw.choice(room["participant_ids"]),
            "text": " ".join(draw.choices(_WORDS, k=draw.randint(3, 30))),
            "date": f"2024-02-{1 + number // 86_400 % 28:02}T{number // 3600 % 24:02}:{number // 60 % 60:02}:07+03:00",
            "system": False,
        }
        for number, room in enumerate(turns, 1)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("users", users), ("chats", rooms), ("messages", messages)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def read_topic(kafka: str, topic: str) -> list[Any]:
    """Every record that is on the topic now, partition by partition; read with none of our code."""
    return asyncio.run(_read_topic(kafka, topic))


async def _read_topic(kafka: str, topic: str) -> list[Any]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        parts = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        assert parts, f"there is no topic {topic}"
        ends = await consumer.end_offsets(parts)
        found: list[Any] = []
        for part in parts:
            consumer.unsubscribe()
            consumer.assign([part])
            await consumer.seek_to_beginning(part)
            heard = time.monotonic()
            while await consumer.position(part) < ends[part]:
                got = await consumer.getmany(part, timeout_ms=500, max_records=2_000)
                heard = time.monotonic() if got else heard
                assert time.monotonic() - heard < _SILENT_S, f"{part} is silent"
                found += got.get(part, [])
        return found
    finally:
        await consumer.stop()


def waits_ms(chaos: Chaos, chats: set[int]) -> list[int]:
    """Sorted: from the moment a message of these chats was appended to `chat_messages` to its `imported`."""
    names = {str(chat).encode() for chat in chats}
    kafka, project = chaos.project.kafka, chaos.project.name
    began: dict[bytes, int] = {}
    for record in read_topic(kafka, f"{project}.chat_messages"):
        if record.key in names:
            began.setdefault(header(record, "ce_subject"), record.timestamp)
    ended: dict[bytes, int] = {}
    for record in read_topic(kafka, f"{project}.results"):
        if header(record, "ce_type") == b"record.imported":
            ended.setdefault(header(record, "ce_subject"), record.timestamp)
    assert began.keys() <= ended.keys(), "a message of a healthy chat has no result"
    return sorted(ended[key] - at for key, at in began.items())


def header(record: Any, name: str) -> bytes:
    """The last header of that name; empty where there is none."""
    return next((value or b"" for one, value in reversed(record.headers) if one == name), b"")


def share_below(values: Sequence[int], share: float) -> int:
    """The value that this share of the sorted values does not pass: 0.99 for p99."""
    return values[min(len(values) - 1, int(len(values) * share))]
