"""What `chatferry doctor` says: every prerequisite by its name, with what to do, whatever else is missing."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console
from tests.unit.common.portal.portal_fakes import FakeBucket

from chatferry.common.portal.preflight import Check
from chatferry.operator.doctor import examine
from chatferry.operator.folder import Folder, Project
from chatferry.simulators.bitrix24 import GeneratorSettings, Running, generate, new_webhook, serve

CLOUD = ("auth.cloud.users", "auth.cloud.chats")
TARGET = ("auth.target.import.users", "auth.target.import.chats")
_SECRET = "unit-target-secret"


@dataclass(frozen=True)
class Told:
    """What was printed: (found, sentence) by name of the check, and all of it."""

    healthy: bool
    checks: dict[str, tuple[bool, str]]
    text: str

    def missing(self) -> set[str]:
        return {name for name, (ok, _) in self.checks.items() if not ok and not name.startswith("infra.")}


def unused_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def doctor(root: Path, env: dict[str, str] | None = None) -> Told:
    out = io.StringIO()
    healthy = await examine(Folder(root), env or {}, Console(file=out, width=500))
    checks: dict[str, tuple[bool, str]] = {}
    for line in out.getvalue().splitlines():
        mark, _, rest = line.strip().partition("  ")
        name, _, detail = rest.partition(": ")
        assert name not in checks, f"{name} is told twice"
        checks[name] = (mark == "ok", detail)
    return Told(healthy, checks, out.getvalue())


@asynccontextmanager
async def a_target(status: int, body: bytes = b'{"count":0}') -> AsyncIterator[tuple[str, list[str]]]:
    """Its REST URL, and the paths that it is asked for."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.split(" ", 2)[1])
        length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:"))
        await reader.readexactly(length)
        writer.write(
            b"HTTP/1.1 %d Said\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (status, len(body), body)
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/rest/1/{_SECRET}", asked


def a_project(root: Path, webhooks: list[str], target: str) -> Project:
    """As `up` leaves one in its folder; Redis is away."""
    files = {"webhooks": "\n".join(webhooks), "target": target}
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8")
    project = Project(
        name="unit",
        kafka=f"127.0.0.1:{unused_port()}",
        mongodb=f"mongodb://127.0.0.1:{unused_port()}",
        redis=f"redis://127.0.0.1:{unused_port()}",
        portal_host="127.0.0.1",
        webhooks_file=str(root / "webhooks"),
        target_url=target.partition("/rest/")[0],
        rest_url_file=str(root / "target"),
        portal_url="http://127.0.0.1",
    )
    Folder(root).save(project)
    return project


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> FakeBucket:
    """A bucket that lets all pass, in place of the one in Redis."""
    bucket = FakeBucket()
    monkeypatch.setattr("chatferry.operator.doctor.RedisRateBucket", lambda *_: bucket)
    return bucket


@pytest.fixture
async def portal() -> AsyncIterator[Running]:
    made = generate(GeneratorSettings(seed=1, users=4, chats=2, messages=10))
    new_webhook(made, max(made.users))
    async with serve(made) as running:
        yield running


def owner(running: Running) -> int:
    return max(running.portal.users)


async def test_where_nothing_was_started_each_part_and_the_project_are_missing_by_name(tmp_path: Path) -> None:
    told = await doctor(tmp_path)
    assert not told.healthy
    parts = {f"infra.storage.ready {name}" for name in ("kafka", "mongodb", "redis")}
    assert set(told.checks) == {*parts, "project"}
    assert not any(ok for ok, _ in told.checks.values())
    assert all(detail for _, detail in told.checks.values())
    for part in ("kafka", "mongodb", "redis"):
        detail = told.checks[f"infra.storage.ready {part}"][1]
        assert "chatferry stack up" in detail
        assert "docker compose up" in detail
        assert f"CHATFERRY_{part.upper()}=" in detail
    assert "chatferry up" in told.checks["project"][1]


async def test_what_lets_us_in_is_ok_and_only_what_is_missing_is_marked(
    tmp_path: Path, portal: Running, unlimited: FakeBucket
) -> None:
    async with a_target(200) as (target, asked):
        a_project(tmp_path, [portal.webhook_url(owner(portal))], target)
        told = await doctor(tmp_path)
    assert told.missing() == set()
    assert {*CLOUD, *TARGET} <= told.checks.keys()
    assert asked == [f"/rest/1/{_SECRET}/import.{family}.count" for family in ("users", "chats")]
    assert unlimited.taken > 0, "the portal is asked within its limits"
    assert not told.healthy, "Kafka, MongoDB and Redis were never started here"


async def test_all_is_well_only_where_every_check_is(
    tmp_path: Path, portal: Running, unlimited: FakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stored(_: Project) -> list[Check]:
        return []

    monkeypatch.setattr("chatferry.operator.doctor._stack_checks", lambda *_: [])
    monkeypatch.setattr("chatferry.operator.doctor._stored", stored)
    async with a_target(200) as (target, _):
        a_project(tmp_path, [portal.webhook_url(owner(portal))], target)
        assert (await doctor(tmp_path)).healthy
        portal.board.revoke_webhooks(owner(portal))
        assert not (await doctor(tmp_path)).healthy


async def test_no_secret_is_printed(tmp_path: Path, portal: Running, unlimited: FakeBucket) -> None:
    url = portal.webhook_url(owner(portal))
    async with a_target(403) as (target, _):
        a_project(tmp_path, [url], target)
        portal.board.revoke_webhooks(owner(portal))
        told = await doctor(tmp_path)
    assert told.missing() == {*CLOUD, *TARGET}
    assert url.rpartition("/")[2] not in told.text
    assert _SECRET not in told.text


async def test_a_webhook_without_a_scope_is_named_with_the_scope(
    tmp_path: Path, portal: Running, unlimited: FakeBucket
) -> None:
    portal.board.revoke_webhooks(owner(portal))
    new_webhook(portal.portal, owner(portal), scopes=("user",))
    async with a_target(200) as (target, _):
        a_project(tmp_path, [portal.webhook_url(owner(portal))], target)
        told = await doctor(tmp_path)
    assert told.missing() == {"auth.cloud.chats"}
    assert "lacks the scope im" in told.checks["auth.cloud.chats"][1]


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_a_target_that_refuses_is_told_with_its_answer(
    tmp_path: Path, portal: Running, unlimited: FakeBucket, status: int
) -> None:
    async with a_target(status) as (target, _):
        a_project(tmp_path, [portal.webhook_url(owner(portal))], target)
        told = await doctor(tmp_path)
    assert told.missing() == set(TARGET)
    assert all(str(status) in told.checks[name][1] for name in TARGET)


@pytest.mark.parametrize("body", [b"<html>We are down for maintenance</html>", b"", b"{}", b'{"count":null}', b"[]"])
async def test_a_page_in_the_place_of_a_target_lets_nobody_in(
    tmp_path: Path, portal: Running, unlimited: FakeBucket, body: bytes
) -> None:
    async with a_target(200, body) as (target, _):
        a_project(tmp_path, [portal.webhook_url(owner(portal))], target)
        told = await doctor(tmp_path)
    assert told.missing() == set(TARGET)
    assert all("does not answer as a target does" in told.checks[name][1] for name in TARGET)


async def test_a_page_of_which_there_is_no_end_lets_nobody_in(
    tmp_path: Path, portal: Running, unlimited: FakeBucket
) -> None:
    async with a_target(200, b" " * 5_000_000) as (target, _):
        a_project(tmp_path, [portal.webhook_url(owner(portal))], target)
        told = await doctor(tmp_path)
    assert told.missing() == set(TARGET)
    assert all("does not answer as a target does" in told.checks[name][1] for name in TARGET)


async def test_a_target_that_is_away_is_told_and_the_portal_is_asked_all_the_same(
    tmp_path: Path, portal: Running, unlimited: FakeBucket
) -> None:
    a_project(tmp_path, [portal.webhook_url(owner(portal))], f"http://127.0.0.1:{unused_port()}/rest/1/{_SECRET}")
    told = await doctor(tmp_path)
    assert told.missing() == set(TARGET)
    assert all("does not answer" in told.checks[name][1] for name in TARGET)


async def test_without_redis_nothing_is_asked_of_the_portal(tmp_path: Path, portal: Running) -> None:
    async with a_target(200) as (target, _):
        a_project(tmp_path, [portal.webhook_url(owner(portal))], target)
        told = await doctor(tmp_path)
    assert told.missing() == set(CLOUD)
    assert all("Redis" in told.checks[name][1] for name in CLOUD)
    assert portal.statistics.requests.total() == 0


def _no_webhooks_file(project: Project) -> Project:
    return replace(project, webhooks_file="/nowhere/webhooks")


def _empty_webhooks_file(project: Project) -> Project:
    Path(project.webhooks_file).write_text("\n", encoding="utf-8")
    return project


def _no_webhook(project: Project) -> Project:
    Path(project.webhooks_file).write_text("https://portal.test/rest/nobody\n", encoding="utf-8")
    return project


@pytest.mark.parametrize("spoil", [_no_webhooks_file, _empty_webhooks_file, _no_webhook])
async def test_webhooks_that_cannot_be_used_are_a_check_that_fails_and_the_target_is_asked_all_the_same(
    tmp_path: Path, unlimited: FakeBucket, spoil: Callable[[Project], Project]
) -> None:
    async with a_target(200) as (target, _):
        Folder(tmp_path).save(spoil(a_project(tmp_path, ["https://portal.test/rest/1/s"], target)))
        told = await doctor(tmp_path)
    assert told.missing() == set(CLOUD)
    assert all("webhook" in told.checks[name][1].lower() for name in CLOUD)


@pytest.mark.parametrize("text", [None, "not a certificate"])
@pytest.mark.parametrize(
    ("variable", "names"), [("CHATFERRY_PORTAL_CA_FILE", CLOUD), ("CHATFERRY_TARGET_CA_FILE", TARGET)]
)
async def test_a_certificate_file_that_cannot_be_used_is_named(
    tmp_path: Path, portal: Running, unlimited: FakeBucket, text: str | None, variable: str, names: tuple[str, ...]
) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    async with a_target(200) as (target, _):
        a_project(tmp_path, [portal.webhook_url(owner(portal))], target)
        told = await doctor(tmp_path, {variable: str(file)})
    assert told.missing() == set(names)
    assert all(variable in told.checks[name][1] for name in names)


@pytest.mark.parametrize("text", [None, "", "http://[broken/rest/1/s"])
async def test_a_target_whose_address_cannot_be_read_is_a_check_that_fails(
    tmp_path: Path, portal: Running, unlimited: FakeBucket, text: str | None
) -> None:
    project = a_project(tmp_path, [portal.webhook_url(owner(portal))], text or "")
    if text is None:
        Folder(tmp_path).save(replace(project, rest_url_file="/nowhere/target"))
    told = await doctor(tmp_path)
    assert told.missing() == set(TARGET)
    assert all(told.checks[name][1] for name in TARGET)
