"""`chatferry demo`: a portal, the services and the target on this machine, one migration, the report that proves it."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from chatferry.common.adapters.mongo import open_client, open_database
from chatferry.common.bootstrap import bootstrap_project, read_topics
from chatferry.common.errors import ConfigurationError
from chatferry.operator.folder import Folder, Project
from chatferry.operator.kept import take_for_demo
from chatferry.operator.launch import Announce, Launch, SimulatedPortal, launch
from chatferry.operator.migration import Migration
from chatferry.operator.processes import stop
from chatferry.operator.runs import Options, Store
from chatferry.stack import PART_NAMES, Addresses, GivenAddresses, LocalStack, addresses_from_environment

PROJECT = "demo"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`keep`: everything stays up afterwards. `data`: a folder of chats; without one a portal is made from `seed`."""

    data: Path | None
    seed: int
    keep: bool
    max_rate: float | None
    bucket: str = "50:2"


def topics_file(env: Mapping[str, str]) -> Path:
    """`deploy/topics.yaml` of this checkout, or where CHATFERRY_TOPICS_FILE says."""
    if given := env.get("CHATFERRY_TOPICS_FILE"):
        return Path(given)
    return Path(__file__).resolve().parents[4] / "deploy" / "topics.yaml"


def limits_of(bucket: str) -> dict[str, str]:
    """The extractor's settings for a portal with these limits. Raises ConfigurationError."""
    if bucket == "off":
        capacity, per_second = "1000000", "1000000"
    else:
        capacity, colon, per_second = bucket.partition(":")
        digits = capacity.isdigit() and per_second.replace(".", "", 1).isdigit()
        if not colon or not bucket.isascii() or not digits:
            raise ConfigurationError(f"--bucket {bucket}: give CAPACITY:PER_SECOND, as in 50:2, or off")
    return {"CHATFERRY_PORTAL_BUCKET_CAPACITY": capacity, "CHATFERRY_PORTAL_BUCKET_PER_SECOND": per_second}


def checked_data(data: Path | None) -> Path | None:
    """Raises ConfigurationError for a folder that is not of the form."""
    if data is None:
        return None
    for name in ("users.jsonl", "chats.jsonl", "messages.jsonl"):
        if not (data / name).is_file():
            raise ConfigurationError(f"{data} is no folder of chats: it has no {name}")
    return data.absolute()


async def run_demo(folder: Folder, options: DemoOptions, console: Console) -> bool:
    """True when the migration was verified."""
    data, settings = checked_data(options.data), limits_of(options.bucket)
    began = time.monotonic()

    def announce(line: str) -> None:
        console.print(Text(f"{time.monotonic() - began:5.1f} s  {line}", "dim"), soft_wrap=True)

    lock = take_for_demo(folder)
    portal = SimulatedPortal(data, options.seed, users=60, chats=40, messages=6_000, bucket=options.bucket)
    name = project_name(os.environ)
    try:
        addresses, stack_root = fresh_stack(folder, announce)
        await bootstrap(addresses, name)
        project = launch(folder, Launch(name, addresses, portal, settings, stack_root), lock, announce)
        lock.close()
        verified = await _migrate(folder, project, options, console)
    except BaseException:
        end_demo(folder, folder.root)
        raise
    if options.keep:
        console.print(
            "everything stays up: `chatferry status`, `chatferry migrate chats`, `chatferry down`", soft_wrap=True
        )
    else:
        end_demo(folder, stack_root)
    console.print(f"{time.monotonic() - began:.1f} s in all", highlight=False, soft_wrap=True)
    return verified


def project_name(env: Mapping[str, str]) -> str:
    """A name of its own where data of others and of earlier demos may lie: in parts that the environment names."""
    return PROJECT if addresses_from_environment(env) == GivenAddresses() else f"{PROJECT}-{secrets.token_hex(3)}"


async def _migrate(folder: Folder, project: Project, options: DemoOptions, console: Console) -> bool:
    store = Store(project)
    try:
        migration = Migration(folder, store, console)
        return await migration.migrate("chats", Options(max_rate=options.max_rate), with_needs=True)
    finally:
        store.close()


def fresh_stack(folder: Folder, announce: Announce) -> tuple[Addresses, Path | None]:
    """A stack without data of an earlier demo; it is this folder's own, and nobody uses it (`take_for_demo`)."""
    stop(folder)
    stack = LocalStack(folder.root, announce=announce)
    stack.down()
    given = addresses_from_environment(os.environ)
    for part in PART_NAMES:
        if given.of(part) is None:
            shutil.rmtree(folder.root / "stack" / part, ignore_errors=True)
    return stack.up(), folder.root


async def bootstrap(addresses: Addresses, project: str) -> None:
    """Topics, indexes and mapping of a project."""
    client = open_client(addresses.mongodb)
    try:
        database = open_database(client, f"chatferry_{project.replace('-', '_')}")
        await bootstrap_project(addresses.kafka, database, project, read_topics(topics_file(os.environ)))
    finally:
        client.close()


def end_demo(folder: Folder, stack_root: Path | None) -> None:
    if not stop(folder) and stack_root is not None:
        LocalStack(stack_root, announce=lambda _: None).down()
