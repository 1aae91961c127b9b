"""`chatferry status`: where everything is, what runs, how far it is; without a secret."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from chatferry.common.entities import FAMILIES
from chatferry.common.errors import OutageError
from chatferry.common.ledger import account
from chatferry.operator.folder import Folder, Project, read_json
from chatferry.operator.launch import SERVICES, shown
from chatferry.operator.runs import Store

_RUN_FIELDS = ("family", "phases", "state", "phase", "reason", "method", "verified", "counts", "preflight", "options")


async def snapshot(folder: Folder, project: Project, store: Store) -> dict[str, Any]:
    """The object that `status --json` prints."""
    state = read_json(folder.processes)
    return {
        "project": project.name,
        "kafka": project.kafka,
        "mongodb": {"url": project.mongodb, "database": project.database},
        "redis": {"url": project.redis},
        "portal": {"url": shown(project.portal_url)},
        "target": {"url": project.target_url, "rest_url_file": project.rest_url_file},
        "processes": state.get("processes", []),
        "stack_restarts": state.get("stack_restarts", {}),
        "failed": state.get("failed"),
        "health": _health(folder),
        **await _stored(store),
    }


async def _stored(store: Store) -> dict[str, Any]:
    try:
        runs = [_run(document) for document in await store.runs()]
        ledger = {
            entity.name: (await account(store.database, entity, family)).as_json()
            for family in FAMILIES.values()
            for entity in family.entities
        }
    except OutageError as away:
        return {"runs": [], "ledger": {}, "outage": away.sentence}
    return {"runs": runs, "ledger": ledger}


def _run(document: dict[str, Any]) -> dict[str, Any]:
    shown_fields = {name: document.get(name) for name in _RUN_FIELDS}
    times = {name: _iso(document.get(name)) for name in ("requested_at", "started_at", "finished_at")}
    return {"run": document["_id"], **shown_fields, **times}


def _iso(moment: Any) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if isinstance(moment, datetime) else None


def _health(folder: Folder) -> dict[str, dict[str, str]]:
    """What each service says is wrong with it; empty when nothing is."""
    return {name: _wrong(folder.service_url(name)) for name in SERVICES}


def _wrong(url: str | None) -> dict[str, str]:
    if url is None:
        return {"service": "it does not run"}
    try:
        answer = httpx.get(f"{url}/readyz", timeout=2)
    except httpx.HTTPError as failure:
        return {"service": f"it does not answer ({type(failure).__name__})"}
    return dict(answer.json()["wrong"])


def show(state: dict[str, Any], console: Console) -> None:
    """The same for people."""
    places = Table(box=None, show_header=False, pad_edge=False)
    places.add_row("project", state["project"])
    places.add_row("kafka", state["kafka"])
    places.add_row("mongodb", f"{state['mongodb']['database']} at {state['mongodb']['url'].partition('?')[0]}")
    places.add_row("redis", state["redis"]["url"])
    places.add_row("portal", state["portal"]["url"])
    places.add_row("target", state["target"]["url"])
    console.print(places)
    processes = Table("process", "pid", "restarts", "state", box=None, pad_edge=False, title_justify="left")
    elsewhere = [{"name": name, "pid": "-", "restarts": "-"} for name in state["health"]]
    for process in state["processes"] or elsewhere:
        wrong = state["health"].get(process["name"], {})
        health = "; ".join(wrong.values()) if wrong else "ready"
        style = "red" if wrong or process["pid"] is None else "green"
        processes.add_row(process["name"], str(process["pid"]), str(process["restarts"]), f"[{style}]{health}[/]")
    console.print(processes)
    _show_ledger(state, console)
    runs = Table("run", "state", "phase", "reason", box=None, pad_edge=False)
    for run in state["runs"][:8]:
        runs.add_row(run["run"], str(run["state"]), str(run["phase"] or ""), str(run["reason"] or ""))
    console.print(runs)


def _show_ledger(state: dict[str, Any], console: Console) -> None:
    ledger = Table("entity", "read", "done", "skipped", "dead", "waiting", box=None, pad_edge=False)
    for entity, one in state["ledger"].items():
        skipped = sum(one["skipped"].values())
        ledger.add_row(entity, *[f"{n:,}" for n in (one["read"], one["done"], skipped, one["dead"], one["waiting"])])
    console.print(ledger)
