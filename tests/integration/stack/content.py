"""Writing to and reading from the three servers, with the clients that the services use."""

import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pymongo import MongoClient
from redis import Redis

from chatferry.stack import Addresses


async def write(addresses: Addresses, word: str) -> None:
    """Leave the word in each server, in a transaction where there are transactions."""
    await _produce(addresses.kafka, f"topic-{word}", word)
    with (
        MongoClient[dict[str, str]](addresses.mongodb) as mongo,
        mongo.start_session() as session,
        session.start_transaction(),
    ):
        mongo["stack"]["words"].insert_one({"_id": word}, session=session)
        mongo["stack"]["again"].insert_one({"_id": word}, session=session)
    with Redis.from_url(addresses.redis) as redis:
        redis.set(word, word)


async def read(addresses: Addresses, word: str) -> dict[str, list[str]]:
    """What each server has of the word; each list is `[word]` when nothing was lost or doubled."""
    with MongoClient[dict[str, str]](addresses.mongodb) as mongo:
        documents = [document["_id"] for document in mongo["stack"]["words"].find({"_id": word})]
    with Redis.from_url(addresses.redis) as redis:
        value = redis.get(word)
    return {
        "kafka": await _consume(addresses.kafka, f"topic-{word}"),
        "mongodb": documents,
        "redis": [value.decode()] if isinstance(value, bytes) else [],
    }


def everywhere(word: str) -> dict[str, list[str]]:
    return {"kafka": [word], "mongodb": [word], "redis": [word]}


async def _produce(bootstrap: str, topic: str, word: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=str(uuid.uuid4()), acks="all")
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait(topic, word.encode())
    finally:
        await producer.stop()


async def _consume(bootstrap: str, topic: str) -> list[str]:
    """Every committed record of the topic, up to its end as it is now."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False, group_id=None
    )
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        words: list[str] = []
        while await consumer.position(partition) < end:
            batches = await consumer.getmany(timeout_ms=500)
            words += [record.value.decode() for records in batches.values() for record in records]
        return words
    finally:
        await consumer.stop()
