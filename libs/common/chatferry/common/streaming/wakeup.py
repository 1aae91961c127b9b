"""A FastStream subscriber that only wakes somebody up: nothing is lost when an event of it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER, KafkaMessage

from chatferry.common.errors import OutageError
from chatferry.common.settings import ServiceSettings


@asynccontextmanager
async def wake_on(settings: ServiceSettings, topic: str, wake: Callable[[], None]) -> AsyncIterator[KafkaBroker]:
    """Call `wake` for every event of a topic, in every process that listens. Raises OutageError when Kafka cannot be
    reached at the start.

    Without a group: to join one, and to leave it, takes as long as a member that has died is waited for.
    """
    broker = KafkaBroker(settings.kafka, logger=None, allow_auto_create_topics=False, graceful_timeout=1)

    async def parse(record: Any) -> KafkaMessage:
        return KafkaMessage(raw_message=record, body=b"", consumer=FAKE_CONSUMER)

    async def decode(_: KafkaMessage) -> bytes:
        return b""

    async def handle(_: Any) -> None:
        wake()

    subscriber = broker.subscriber(
        settings.topic(topic),
        auto_offset_reset="latest",
        # Nothing is ever committed.
        ack_policy=AckPolicy.MANUAL,
        parser=parse,
        decoder=decode,
        no_reply=True,
    )
    subscriber(handle)
    try:
        await _start(broker)
        yield broker
    finally:
        await broker.stop()


async def _start(broker: KafkaBroker) -> None:
    try:
        await broker.start()
    except KafkaError as away:
        raise OutageError("kafka", "Kafka cannot be reached; work goes on when it is back") from away
