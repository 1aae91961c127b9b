"""The subscriber that only wakes somebody up, against a real broker."""

from __future__ import annotations

import asyncio
import os
import signal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import SecretStr

from chatferry.common.settings import ServiceSettings
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing
from chatferry.common.streaming.wakeup import wake_on
from chatferry.stack import LocalStack


async def _until_woken(producer: RecordProducer, woken: asyncio.Event) -> None:
    """Events from before the group stood are not heard, so it is called until it answers."""
    while not woken.is_set():
        await producer.send([Outgoing("wake.commands", b"k", b"v", ())])
        await asyncio.sleep(0.2)


async def test_it_lets_go_of_a_broker_that_has_died(own_stack: LocalStack) -> None:
    addresses = await asyncio.to_thread(own_stack.up)
    admin = AIOKafkaAdminClient(bootstrap_servers=addresses.kafka)
    await admin.start()
    await admin.create_topics([NewTopic("wake.commands", 1, 1)])
    await admin.close()
    settings = ServiceSettings(
        project="wake",
        kafka=addresses.kafka,
        mongodb=SecretStr(addresses.mongodb),
        redis=SecretStr(addresses.redis),
    )
    woken, producer = asyncio.Event(), RecordProducer(addresses.kafka, client_id="tests")
    async with asyncio.timeout(60):
        async with wake_on(settings, "commands", "extractor", woken.set) as broker:
            await _until_woken(producer, woken)
            await producer.close()
            [kafka] = [part.pid for part in own_stack.status() if part.name == "kafka"]
            assert kafka is not None
            os.kill(kafka, signal.SIGKILL)
            [subscriber] = broker.subscribers
            coordinator = subscriber.consumer._coordinator  # type: ignore[attr-defined]
            while coordinator.coordinator_id is not None:  # noqa: ASYNC110 - aiokafka tells nobody
                await asyncio.sleep(0.1)
            began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 10
