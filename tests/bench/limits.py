"""Limits on: Get alone on a portal with small pages, beside an ordinary client (fast_bitrix24)."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from pathlib import Path
from typing import Any

import httpx
from fast_bitrix24 import BitrixAsync
from tests.bench.measured import Measured, measured_project

from chatferry.operator.launch import SimulatedPortal
from chatferry.operator.runs import Options
from chatferry.simulators.bitrix24 import GeneratorSettings, PortalSettings, RateBucket, generate, new_webhook, serve

CAPACITY, PER_SECOND = 50, 2.0
_DRAIN_S = CAPACITY / PER_SECOND + 2


def get_alone(root: Path, seconds: float) -> dict[str, Any]:
    """Permitted: what the portal's own bucket had free at the beginning, and what drained since."""
    chats = int((seconds * PER_SECOND + CAPACITY) * 50 / 5 * 1.3)
    portal = SimulatedPortal(None, 7, users=100, chats=chats, messages=chats * 3, bucket=f"{CAPACITY}:{PER_SECOND:g}")
    with measured_project(root, portal) as project:
        project.migrate("users", Options())
        time.sleep(_DRAIN_S)  # the bucket has to be empty, and known to be, when the count begins
        before, useful_before = project.truth()["statistics"], _useful(project)
        project.ask("chats", Options(phases=("get",)))
        time.sleep(seconds)
        after, useful_after = project.truth()["statistics"], _useful(project)
    requests = sum(after["requests"].values()) - sum(before["requests"].values())
    batches = after["requests"].get("batch", 0) - before["requests"].get("batch", 0)
    permitted = CAPACITY + PER_SECOND * seconds
    return {
        "seconds": seconds,
        "requests": requests,
        "permitted": permitted,
        "share": requests / permitted,
        "limit_answers": after["errors"].get("QUERY_LIMIT_EXCEEDED", 0),
        "useful_per_batch": (useful_after - useful_before) / max(1, batches),
    }


def _useful(project: Measured) -> float:
    """Commands that told the extractor something, by its own metric."""
    url = (project.folder.addresses / "extractor.url").read_text(encoding="utf-8").strip()
    found = re.search(r'portal_commands_total\{outcome="useful"\} (\S+)', httpx.get(f"{url}/metrics/", timeout=5).text)
    return float(found.group(1)) if found else 0.0


def fast_bitrix24(seconds: float) -> dict[str, Any]:
    """The users list, again and again, through the client that most people take."""
    return asyncio.run(_fast_bitrix24(seconds))


async def _fast_bitrix24(seconds: float) -> dict[str, Any]:
    logging.getLogger("fast_bitrix24").setLevel(logging.CRITICAL)
    portal = generate(GeneratorSettings(seed=7, users=3_000, chats=1, messages=1))
    webhook = new_webhook(portal, max(portal.users))
    settings = PortalSettings(bucket=RateBucket(CAPACITY, PER_SECOND))
    async with serve(portal, settings) as running:
        client = BitrixAsync(running.webhook_url(webhook.user_id), verbose=False)
        began, failures = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            try:
                async with asyncio.timeout(seconds):
                    await client.get_all("user.get")
            except (TimeoutError, RuntimeError, OSError):
                failures += 1
        spent = time.monotonic() - began
        told = running.statistics
    requests = sum(told.requests.values())
    permitted = CAPACITY + PER_SECOND * spent
    return {
        "seconds": spent,
        "requests": requests,
        "share": requests / permitted,
        "limit_answers": told.errors["QUERY_LIMIT_EXCEEDED"],
        "failures": failures,
    }
