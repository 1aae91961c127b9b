"""`chatferry doctor`: the checks of a run's preflight, alone, and what this machine lacks."""

from __future__ import annotations

import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import httpx
import orjson
from redis.asyncio import Redis
from rich.console import Console
from rich.text import Text

from chatferry.common.adapters.http import ON_THIS_MACHINE, TooLargeError, post
from chatferry.common.adapters.mongo import open_client, open_database
from chatferry.common.adapters.redis import check_redis_url
from chatferry.common.clock import SystemClock
from chatferry.common.contracts.target import ANSWER_BYTES, NO_TARGET, is_count
from chatferry.common.entities import ENTITIES, FAMILIES
from chatferry.common.errors import ConfigurationError, OutageError
from chatferry.common.portal.bucket import Limits, RedisRateBucket
from chatferry.common.portal.client import PortalClient
from chatferry.common.portal.preflight import Check, portal_checks
from chatferry.common.portal.webhook import parse_webhooks
from chatferry.common.settings import secret_lines
from chatferry.common.storage import StorageChecks
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.telemetry.metrics import Metrics
from chatferry.operator.folder import Folder, Project
from chatferry.stack import LocalStack

Ask = Callable[[Project, Mapping[str, str]], Awaitable[list[Check]]]


async def examine(folder: Folder, env: Mapping[str, str], console: Console) -> bool:
    """True when nothing is missing."""
    checks = _stack_checks(folder, env)
    try:
        project = folder.load()
    except ConfigurationError as none:
        checks.append(Check("project", False, none.sentence))
    else:
        if all(check.ok for check in checks):
            # Of a part that is away its own line says enough.
            checks += await _stored(project)
        checks += [*await _named("auth.cloud", _portal, project, env)]
        checks += [*await _named("auth.target.import", _target, project, env)]
    for check in checks:
        mark, style = ("ok", "green") if check.ok else ("missing", "bold red")
        console.print(Text.assemble((f"{mark:>8}", style), f"  {check.name}: {check.detail}"), soft_wrap=True)
    return all(check.ok for check in checks)


def _stack_checks(folder: Folder, env: Mapping[str, str]) -> list[Check]:
    parts = LocalStack(folder.root, announce=lambda _: None, environment=env).status()
    return [Check(f"infra.storage.ready {part.name}", part.healthy, part.detail) for part in parts]


async def _stored(project: Project) -> list[Check]:
    """Indexes, topics and mapping, as a run's preflight looks at them."""
    check_redis_url(project.redis)
    redis = Redis.from_url(project.redis, socket_timeout=5, socket_connect_timeout=5)
    producer = RecordProducer(project.kafka, client_id=f"{project.name}.doctor")
    client = open_client(project.mongodb)
    try:
        storage = StorageChecks(open_database(client, project.database), redis, producer, project.name)
        return await storage.of(ENTITIES.values())
    except OutageError as away:
        return [Check("infra.storage.ready", False, away.sentence)]
    finally:
        client.close()
        await producer.close()
        await redis.aclose()


async def _named(name: str, ask: Ask, project: Project, env: Mapping[str, str]) -> list[Check]:
    """The answers; of each family the same sentence when a file of ours keeps anybody from asking."""
    try:
        return await ask(project, env)
    except ConfigurationError as unusable:
        return [Check(f"{name}.{family}", False, unusable.sentence) for family in FAMILIES]


def _trusted(env: Mapping[str, str], variable: str) -> ssl.SSLContext:
    """Raises ConfigurationError when the CA file cannot be used."""
    file = env.get(variable)
    try:
        return ssl.create_default_context(cafile=file or None)
    except OSError:
        raise ConfigurationError(f"{variable}: {file} cannot be read as certificates in PEM form") from None


async def _portal(project: Project, env: Mapping[str, str]) -> list[Check]:
    webhooks = parse_webhooks(secret_lines(None, Path(project.webhooks_file), "PORTAL_WEBHOOKS"))
    check_redis_url(project.redis)
    redis = Redis.from_url(project.redis, socket_timeout=5, socket_connect_timeout=5)
    clock = SystemClock()
    bucket = RedisRateBucket(redis, project.portal_host, Limits(), clock, random.Random())  # noqa: S311 - jitter
    try:
        async with httpx.AsyncClient(verify=_trusted(env, "CHATFERRY_PORTAL_CA_FILE"), mounts=ON_THIS_MACHINE) as http:
            client = PortalClient(webhooks, http, bucket, clock, Metrics())
            views = [await portal_checks(client, family) for family in FAMILIES.values()]
    finally:
        await redis.aclose()
    return [check for view in views for check in view.checks]


async def _target(project: Project, env: Mapping[str, str]) -> list[Check]:
    lines = secret_lines(None, Path(project.rest_url_file), "TARGET_URL")
    if not lines:
        raise ConfigurationError(f"CHATFERRY_TARGET_URL_FILE: {project.rest_url_file} holds no URL")
    base, checks = lines[0], []
    async with httpx.AsyncClient(verify=_trusted(env, "CHATFERRY_TARGET_CA_FILE"), trust_env=False) as http:
        for family in FAMILIES.values():
            name = f"auth.target.import.{family.name}"
            url, body = f"{base}/import.{family.name}.count", orjson.dumps({"entity": family.root.name})
            checks.append(Check(name, *await _lets_us_in(http, project, url, body)))
    return checks


async def _lets_us_in(http: httpx.AsyncClient, project: Project, url: str, body: bytes) -> tuple[bool, str]:
    """And the sentence that goes with it."""
    headers = {"content-type": "application/json"}
    try:
        answer = await post(http, url, body, headers, timeout_s=10, within_s=10, at_most=ANSWER_BYTES)
    except TooLargeError:
        return False, NO_TARGET
    except (httpx.HTTPError, httpx.InvalidURL) as failure:
        return False, f"{project.target_url} does not answer ({type(failure).__name__}); start it"
    if answer.status_code != httpx.codes.OK:
        return False, f"the target answers {answer.status_code}; check its webhook"
    return (True, "the target lets us in") if is_count(answer.content) else (False, NO_TARGET)
