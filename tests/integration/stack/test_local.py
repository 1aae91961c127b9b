"""The stack with its real servers: start, stop, kill, move."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from pymongo import MongoClient
from tests.integration.stack.conftest import of, own_environment, pids
from tests.integration.stack.content import everywhere, read, write

from chatferry.stack import PART_NAMES, LocalStack, StackError

pytestmark = pytest.mark.integration
Make = Callable[[Mapping[str, str]], LocalStack]


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)


@contextmanager
def stranger_on(port: int) -> Iterator[None]:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        hanging_up = threading.Thread(target=_hang_up, args=(stranger,))
        hanging_up.start()
        yield
        stranger.shutdown(socket.SHUT_RDWR)
        hanging_up.join(10)


def _hang_up(server: socket.socket) -> None:
    """Close every connection at once: mongod waits half a minute for one that stays silent at its old address."""
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return


@contextmanager
def command(what: str, root: Path) -> "Iterator[subprocess.Popen[str]]":
    """The command line at work, ended in any case."""
    with subprocess.Popen(
        [sys.executable, "-m", "chatferry.stack", what, "--root", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=own_environment(),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_every_part_answers_with_its_pid_and_address(stack: LocalStack) -> None:
    for part in stack.status():
        assert part.healthy, part.detail
        assert part.pid is not None
        assert part.address is not None
        assert "127.0.0.1" in part.address


def test_the_parts_listen_on_the_loopback_only(stack: LocalStack) -> None:
    for pid in pids(stack).values():
        listening = [c.laddr.ip for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1"}
        assert listening


def test_a_second_up_keeps_everything_as_it_is(stack: LocalStack) -> None:
    before = pids(stack), stack.up()
    assert (pids(stack), stack.up()) == before


def test_topics_are_not_created_by_asking_for_them(stack: LocalStack) -> None:
    async def topics() -> list[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.up().kafka)
        await admin.start()
        try:
            await admin.describe_topics(["never-declared"])
            listed: list[str] = await admin.list_topics()
            return listed
        finally:
            await admin.close()

    assert "never-declared" not in asyncio.run(topics())


async def test_a_stack_killed_as_a_whole_comes_back_with_its_data_at_its_addresses(stack: LocalStack) -> None:
    addresses = stack.up()
    await write(addresses, "killed")
    for pid in pids(stack).values():
        kill(pid)
    assert [part.healthy for part in stack.status()] == [False, False, False]
    assert stack.up() == addresses
    assert await read(addresses, "killed") == everywhere("killed")


async def test_parts_whose_ports_were_taken_move_with_their_data(stack: LocalStack) -> None:
    before = stack.up()
    await write(before, "moved")
    stack.down()
    with (
        stranger_on(int(before.kafka.split(":")[1])),
        stranger_on(int(before.mongodb.split(":")[2].split("/")[0])),
        stranger_on(int(before.redis.split(":")[2].split("/")[0])),
    ):
        after = stack.up()
    assert not {before.kafka, before.mongodb, before.redis} & {after.kafka, after.mongodb, after.redis}
    assert await read(after, "moved") == everywhere("moved")
    with MongoClient[dict[str, str]](after.mongodb.replace("&directConnection=true", "")) as discovering:
        assert discovering.admin.command("ping")["ok"] == 1


@pytest.mark.parametrize("name", PART_NAMES)
async def test_one_killed_part_is_started_again_and_the_others_stay(stack: LocalStack, name: str) -> None:
    before, addresses = pids(stack), stack.up()
    kill(before[name])
    assert "has died" in of(stack, name).detail
    assert stack.up() == addresses
    after = pids(stack)
    assert {part for part in PART_NAMES if before[part] != after[part]} == {name}


async def test_a_restarted_part_has_a_new_process_and_its_data(stack: LocalStack) -> None:
    await write(stack.up(), "restarted")
    before = pids(stack)
    addresses = stack.restart("mongodb")
    assert pids(stack)["mongodb"] != before["mongodb"]
    assert await read(addresses, "restarted") == everywhere("restarted")


def test_a_part_that_does_not_exist_cannot_be_restarted(stack: LocalStack) -> None:
    with pytest.raises(StackError, match="There is no part 'postgres'"):
        stack.restart("postgres")


def test_two_commands_at_once_start_one_set_of_servers(stack: LocalStack, root: Path) -> None:
    stack.down()
    with command("up", root) as one, command("up", root) as other:
        outputs = [process.communicate(timeout=180)[0] for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), outputs
    assert sum(output.count("kafka: starting") for output in outputs) == 1
    assert all(part.healthy for part in stack.status())


def test_an_up_that_was_killed_in_the_middle_is_finished_by_the_next_one(stack: LocalStack, root: Path) -> None:
    stack.down()
    with command("up", root) as first:
        assert first.stdout is not None
        assert any(line.startswith("kafka: starting") for line in first.stdout)
        first.kill()
    stack.up()
    servers = [p for p in psutil.process_iter(["cmdline"]) if str(root / "stack") in " ".join(p.info["cmdline"] or [])]
    assert {p.pid for p in servers} == set(pids(stack).values())


def test_the_command_line_tells_the_state_by_its_exit_code(stack: LocalStack, root: Path, tmp_path: Path) -> None:
    with command("status", root) as running, command("status", tmp_path) as never:
        assert "Kafka answers." in running.communicate(timeout=60)[0]
        assert (
            "Kafka was never started here: start it (`chatferry stack up`), or with Docker"
            in never.communicate(timeout=60)[0]
        )
    assert (running.returncode, never.returncode) == (0, 1)


def test_down_ends_everything_and_may_be_repeated(stack: LocalStack) -> None:
    living = [psutil.Process(pid) for pid in pids(stack).values()]
    stack.down()
    stack.down()
    assert not any(process.is_running() for process in living)
    assert {part.detail for part in stack.status()} == {"Kafka is stopped.", "MongoDB is stopped.", "Redis is stopped."}
    stack.up()


def test_down_spares_a_stranger_that_has_a_pid_of_ours_now(empty_stack: Make, tmp_path: Path) -> None:
    stack = empty_stack(own_environment())
    folder = tmp_path / "root" / "stack"
    folder.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        born = psutil.Process(stranger.pid).create_time() - psutil.boot_time()
        for same_birth in (born, born - 100):
            process = {"pid": stranger.pid, "born_s_after_boot": same_birth}
            (folder / "state.json").write_text(json.dumps({"redis": {"ports": {"client": 1}, "process": process}}))
            stack.down()
            assert stranger.poll() is None
        stranger.kill()


def test_a_given_address_is_checked_and_neither_started_nor_stopped(stack: LocalStack, empty_stack: Make) -> None:
    there = stack.up()
    given = {"CHATFERRY_KAFKA": there.kafka, "CHATFERRY_MONGODB": there.mongodb, "CHATFERRY_REDIS": there.redis}
    guest = empty_stack(own_environment(**given))
    assert guest.up() == there
    assert [(part.pid, part.healthy) for part in guest.status()] == [(None, True)] * 3
    guest.down()
    assert all(part.healthy for part in stack.status())
    with pytest.raises(StackError, match="CHATFERRY_REDIS"):
        guest.restart("redis")


@pytest.mark.parametrize(
    ("variable", "shape"),
    [
        ("CHATFERRY_KAFKA", "127.0.0.1:{}"),
        ("CHATFERRY_MONGODB", "mongodb://me:hidden@127.0.0.1:{}/"),
        ("CHATFERRY_REDIS", "redis://:hidden@127.0.0.1:{}/0"),
    ],
)
def test_a_given_address_where_nobody_answers_stops_up_by_name(
    stack: LocalStack, empty_stack: Make, variable: str, shape: str
) -> None:
    there = stack.up()
    given = {"CHATFERRY_KAFKA": there.kafka, "CHATFERRY_MONGODB": there.mongodb, "CHATFERRY_REDIS": there.redis}
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        given[variable] = shape.format(nobody.getsockname()[1])
        with pytest.raises(StackError, match=variable) as refused:
            empty_stack(own_environment(**given)).up()
    assert "hidden" not in str(refused.value)
