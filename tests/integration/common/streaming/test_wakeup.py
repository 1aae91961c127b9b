"""The subscriber that only wakes somebody up, against a real broker."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import SecretStr

from chatferry.common.settings import ServiceSettings
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing
from chatferry.common.streaming.wakeup import wake_on
from chatferry.stack import Addresses, LocalStack

_LISTENS = """
import asyncio, sys
from pydantic import SecretStr
from chatferry.common.settings import ServiceSettings
from chatferry.common.streaming.wakeup import wake_on

async def listen():
    settings = ServiceSettings(project="wake", kafka=sys.argv[1], mongodb=SecretStr("mongodb://m"), redis=SecretStr("redis://r"))
    async with wake_on(settings, "commands", lambda: None):
        print("listening", flush=True)
        await asyncio.Event().wait()

asyncio.run(listen())
"""


async def _until_woken(producer: RecordProducer, woken: asyncio.Event) -> None:
    """Events from before it listened are not heard, so it is called until it answers."""
    while not woken.is_set():
        await producer.send([Outgoing("wake.commands", b"k", b"v", ())])
        await asyncio.sleep(0.2)


def _settings(addresses: Addresses) -> ServiceSettings:
    return ServiceSettings(
        project="wake",
        kafka=addresses.kafka,
        mongodb=SecretStr(addresses.mongodb),
        redis=SecretStr(addresses.redis),
    )


async def _create_topic(addresses: Addresses) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=addresses.kafka)
    await admin.start()
    await admin.create_topics([NewTopic("wake.commands", 1, 1)])
    await admin.close()


async def test_it_lets_go_of_a_broker_that_has_died(own_stack: LocalStack) -> None:
    addresses = await asyncio.to_thread(own_stack.up)
    await _create_topic(addresses)
    settings = _settings(addresses)
    woken, producer = asyncio.Event(), RecordProducer(addresses.kafka, client_id="tests")
    async with asyncio.timeout(60):
        async with wake_on(settings, "commands", woken.set) as broker:
            await _until_woken(producer, woken)
            await producer.close()
            [kafka] = [part.pid for part in own_stack.status() if part.name == "kafka"]
            assert kafka is not None
            os.kill(kafka, signal.SIGKILL)
            [subscriber] = broker.subscribers
            client = subscriber.consumer._client  # type: ignore[attr-defined]
            while any(conn.connected() for conn in client._conns.values()):  # noqa: ASYNC110 - aiokafka tells nobody
                await asyncio.sleep(0.1)
            began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 10


async def test_it_begins_and_ends_at_once_though_another_has_died_just_now(own_stack: LocalStack) -> None:
    addresses = await asyncio.to_thread(own_stack.up)
    await _create_topic(addresses)
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LISTENS, addresses.kafka, stdout=asyncio.subprocess.PIPE
    )
    assert other.stdout is not None
    assert await asyncio.wait_for(other.stdout.readline(), 30) == b"listening\n"
    other.kill()
    await other.wait()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with wake_on(_settings(addresses), "commands", lambda: None):
        pass
    assert loop.time() - began < 5


async def test_all_who_listen_are_woken(own_stack: LocalStack) -> None:
    addresses = await asyncio.to_thread(own_stack.up)
    await _create_topic(addresses)
    producer, all_woken = RecordProducer(addresses.kafka, client_id="tests"), [asyncio.Event(), asyncio.Event()]
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        for woken in all_woken:
            await stack.enter_async_context(wake_on(_settings(addresses), "commands", woken.set))
        for woken in all_woken:
            await _until_woken(producer, woken)
    await producer.close()
