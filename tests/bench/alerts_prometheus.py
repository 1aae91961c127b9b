"""A Prometheus with the rules that are deployed: its configuration, and what it says of the group `participants`."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from chatferry.operator.folder import Folder, write_atomically
from chatferry.operator.supervisor import Service

PROGRAM = "prometheus"
RULES = Path(__file__).resolve().parents[2] / "deploy" / "alerts.yml"
GROUP = "participants"
EVALUATED_EVERY_S = 15
_BOUND = re.compile(r"\s*[<>]\s*[\d.]+$")


@dataclass(frozen=True, slots=True)
class Rule:
    """`measured`: the rule's expression without its bound."""

    alert: str
    for_s: float
    measured: str


@dataclass(frozen=True, slots=True)
class Active:
    """An alert that is pending or firing."""

    state: str
    value: float
    summary: str


def prometheus(folder: Folder, port: int, scraped: str, after: Path) -> Service:
    """`scraped`: host and port of the service. Begins once `after` is there; labels and pace as in
    deploy/prometheus.yml."""
    scrape = {
        "job_name": "chatferry",
        "metrics_path": "/metrics/",
        "static_configs": [{"targets": [scraped], "labels": {"service": "participants"}}],
    }
    configuration = {
        "global": {"scrape_interval": "5s", "evaluation_interval": f"{EVALUATED_EVERY_S}s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [scrape],
    }
    file = folder.root / "prometheus.yml"
    # JSON is YAML.
    write_atomically(file, json.dumps(configuration, indent=1))
    argv = [PROGRAM, f"--config.file={file}", f"--storage.tsdb.path={folder.root / 'prometheus'}"]
    argv += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    return Service("prometheus", tuple(argv), {}, str(folder.logs / "prometheus.log"), str(after))


class Prometheus:
    """What it says. Raises httpx.HTTPError when it does not."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ready(self) -> bool:
        """Whether it answers, has the rules, and has scraped the service."""
        try:
            return await self.value('up{job="chatferry"}') == 1.0 and bool(await self.rules())
        except httpx.HTTPError:
            return False

    async def rules(self) -> list[Rule]:
        """Of the group."""
        groups = (await self._data("rules"))["groups"]
        return [
            Rule(rule["name"], float(rule["duration"]), _BOUND.sub("", rule["query"]))
            for group in groups
            if group["name"] == GROUP
            for rule in group["rules"]
        ]

    async def active(self) -> dict[str, Active]:
        """By name, whichever group it is of."""
        return {
            one["labels"]["alertname"]: Active(one["state"], float(one["value"]), one["annotations"]["summary"])
            for one in (await self._data("alerts"))["alerts"]
        }

    async def value(self, query: str) -> float | None:
        """Of the first series that the query has; None: it has none."""
        found = (await self._data("query", query=query))["result"]
        return float(found[0]["value"][1]) if found else None

    async def _data(self, path: str, **asked: str) -> Any:
        answer = await self._client.get(f"/api/v1/{path}", params=asked)
        answer.raise_for_status()
        return answer.json()["data"]


@asynccontextmanager
async def open_prometheus(url: str) -> AsyncIterator[Prometheus]:
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
        yield Prometheus(client)
