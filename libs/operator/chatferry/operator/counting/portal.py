"""Chats of a portal that are chats of MAX too: the records by which the service knows them when no event names any."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from chatferry.common.clock import SystemClock
from chatferry.common.contracts.envelope import common_headers, event_source, record_headers
from chatferry.common.entities import ENTITIES
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing
from chatferry.operator.counting.platform import Chat

_AT_ONCE = 500


async def publish_portal(kafka: str, project: str, chats: Sequence[Chat]) -> dict[int, int]:
    """Which MAX chat each of the portal's chats is, once Kafka has them all. Raises OutageError."""
    links, records = portal_records(project, chats)
    producer = RecordProducer(kafka, client_id=f"{project}.demo")
    try:
        for begin in range(0, len(records), _AT_ONCE):
            await producer.send(records[begin : begin + _AT_ONCE])
    finally:
        await producer.close()
    return links


def portal_records(project: str, chats: Sequence[Chat]) -> tuple[dict[int, int], list[Outgoing]]:
    """Numbers of the portal, each with the MAX chat that it is; and their records."""
    entity = ENTITIES["chats"]
    common = common_headers(event_source(project, "demo.bitrix24.ru"), SystemClock().now(), None)
    links = {number: chat.id for number, chat in enumerate(chats, start=1)}
    records = [
        Outgoing(
            f"{project}.chats",
            str(number).encode(),
            orjson.dumps(_body(number, chat)),
            record_headers(entity.key(number), 1, entity.event_type, common=common),
        )
        for number, chat in enumerate(chats, start=1)
    ]
    return links, records


def _body(number: int, chat: Chat) -> dict[str, object]:
    return {
        "id": number,
        "type": "group",
        "title": chat.title,
        "description": None,
        "owner_id": 1,
        "manager_ids": [],
        "participant_ids": list(range(1, chat.count + 1)),
        "created_at": None,
        "entity_type": None,
        "entity_id": None,
    }
