"""A connection to Kafka that dies in the turn of uvloop in which it is written to."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from chatferry.common.streaming.connections import mend_connections
from chatferry.stack import Addresses

pytestmark = pytest.mark.integration


def test_a_connection_that_has_just_died_is_broken_and_no_surprise(
    stack: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever ran before: the process of a test is not that of a service.
    monkeypatch.setattr(AIOKafkaConnection, "send", AIOKafkaConnection.send)
    mend_connections()
    host, port = stack.kafka.rsplit(":", 1)

    async def write_for_ever(connection: AIOKafkaConnection) -> None:
        while True:
            connection.send(MetadataRequest([]), expect_response=False).close()
            await asyncio.sleep(0)

    async def write_to_one_that_dies() -> AIOKafkaConnection:
        connection = await create_conn(host, int(port))
        await connection.send(MetadataRequest([]))
        connection._writer.transport.abort()
        with pytest.raises(KafkaConnectionError):
            await write_for_ever(connection)
        return connection

    assert not uvloop.run(write_to_one_that_dies()).connected()
