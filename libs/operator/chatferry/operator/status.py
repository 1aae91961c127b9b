"""`chatferry status`: where everything is, what runs, how far it is; without a secret."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chatferry.common.adapters.mongo import mongo_outage
from chatferry.common.documents import INVENTORY
from chatferry.common.entities import FAMILIES
from chatferry.common.errors import FatalError, OutageError
from chatferry.common.ledger import account, accounts_per_parent
from chatferry.operator.folder import Folder, Project
from chatferry.operator.launch import SERVICES, shown
from chatferry.operator.processes import supervision
from chatferry.operator.readiness import unready
from chatferry.operator.runs import Store
from chatferry.stack import without_secret

_PARENTS_SHOWN = 8
_RUN_FIELDS = ("family", "phases", "state", "phase", "reason", "method", "verified", "counts", "preflight", "options")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the ledger has beside the totals: `chat`, one chat's own; `parents`, those chats that are not done."""

    chat: int | None = None
    parents: bool = True


async def snapshot(folder: Folder, project: Project, store: Store, wanted: Wanted = Wanted()) -> dict[str, Any]:
    """The object that `status --json` prints."""
    state = supervision(folder)
    return {
        "project": project.name,
        "kafka": project.kafka,
        "mongodb": {"url": without_secret(project.mongodb), "database": project.database},
        "redis": {"url": without_secret(project.redis)},
        "portal": {"url": shown(project.portal_url)},
        "target": {"url": project.target_url, "rest_url_file": project.rest_url_file},
        "processes": state.get("processes", []),
        "stack_restarts": state.get("stack_restarts", {}),
        "failed": state.get("failed"),
        "health": await _health(folder, state),
        **await _stored(store, wanted),
    }


async def _stored(store: Store, wanted: Wanted) -> dict[str, Any]:
    """`ledger_per_parent` is bounded: parents with a record that is not done, the others counted."""
    try:
        runs = [_run(document) for document in await store.runs()]
        with mongo_outage():
            ledger = {
                entity.name: (await account(store.database, entity, family)).as_json()
                for family in FAMILIES.values()
                for entity in family.entities
            }
            parents = {
                entity.name: (await accounts_per_parent(store.database, entity)).as_json()
                for family in FAMILIES.values()
                for entity in family.children
                if wanted.parents
            }
            one = {} if wanted.chat is None else {"ledger_of_chat": await _of_chat(store, wanted.chat)}
    except OutageError as away:
        return {"runs": [], "ledger": {}, "ledger_per_parent": {}, "outage": away.sentence}
    return {"runs": runs, "ledger": ledger, "ledger_per_parent": parents, **one}


async def _of_chat(store: Store, chat: int) -> dict[str, Any]:
    family = FAMILIES["chats"]
    key = family.root.key(chat)
    with mongo_outage():
        row = await store.database[INVENTORY].find_one({"_id": key}, {"state": 1})
    if row is None:
        raise FatalError("chat.unknown", f"no run has listed chat {chat}; ids are those of the portal: 1489")
    accounts = {
        entity.name: (await account(store.database, entity, family, chat)).as_json() for entity in family.children
    }
    return {"key": key, "state": row["state"], **accounts}


def _run(document: dict[str, Any]) -> dict[str, Any]:
    shown_fields = {name: document.get(name) for name in _RUN_FIELDS}
    times = {name: _iso(document.get(name)) for name in ("requested_at", "started_at", "finished_at")}
    return {"run": document["_id"], **shown_fields, **times}


def _iso(moment: Any) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if isinstance(moment, datetime) else None


async def _health(folder: Folder, state: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What each service says is wrong with it; empty when nothing is. A target that others run is none of ours."""
    ours = {process["name"] for process in state.get("processes", [])}
    names = [name for name in SERVICES if name in ours] if ours else SERVICES
    urls = {name: folder.service_url(name) for name in names}
    asked = [asyncio.to_thread(unready, url) for url in urls.values() if url is not None]
    said = iter(await asyncio.gather(*asked))
    return {name: {"service": "it does not run"} if url is None else next(said) for name, url in urls.items()}


def show(state: dict[str, Any], console: Console) -> None:
    """The same for people."""
    places = Table(box=None, show_header=False, pad_edge=False)
    _row(places, "project", state["project"])
    _row(places, "kafka", state["kafka"])
    _row(places, "mongodb", f"{state['mongodb']['database']} at {state['mongodb']['url'].partition('?')[0]}")
    _row(places, "redis", state["redis"]["url"])
    _row(places, "portal", state["portal"]["url"])
    _row(places, "target", state["target"]["url"])
    console.print(places)
    processes = Table("process", "pid", "restarts", "state", box=None, pad_edge=False, title_justify="left")
    elsewhere = [{"name": name, "pid": "-", "restarts": "-"} for name in state["health"]]
    for process in state["processes"] or elsewhere:
        wrong = state["health"].get(process["name"], {})
        health = "; ".join(wrong.values()) if wrong else "ready"
        style = "red" if wrong or process["pid"] is None else "green"
        _row(processes, process["name"], process["pid"], process["restarts"], Text(health, style))
    console.print(processes)
    if state["failed"]:
        console.print(Text.assemble(("failed", "bold red"), f": {state['failed']}"), soft_wrap=True)
    _show_ledger(state, console)
    runs = Table("run", "state", "phase", "reason", box=None, pad_edge=False)
    for run in state["runs"][:8]:
        _row(runs, run["run"], run["state"], run["phase"] or "", run["reason"] or "")
    console.print(runs)


def _row(table: Table, *cells: object) -> None:
    """Word for word: what a person, a part or the target wrote may look like markup."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in cells))


def _show_ledger(state: dict[str, Any], console: Console) -> None:
    ledger = Table("entity", "read", "done", "skipped", "dead", "waiting", box=None, pad_edge=False)
    for entity, one in state["ledger"].items():
        skipped = sum(one["skipped"].values())
        ledger.add_row(entity, *[f"{n:,}" for n in (one["read"], one["done"], skipped, one["dead"], one["waiting"])])
    console.print(ledger)
    for entity, parents in state["ledger_per_parent"].items():
        _show_parents(entity, parents, console)
    if "ledger_of_chat" in state:
        one = dict(state["ledger_of_chat"])
        console.print(f"{one.pop('key')}: {one.pop('state')}", highlight=False, markup=False)
        for entity, numbers in one.items():
            console.print(f"  {entity}: {in_words(numbers)}", highlight=False, markup=False)


def _show_parents(entity: str, parents: dict[str, Any], console: Console) -> None:
    unsettled, total = parents["unsettled"], parents["settled"] + parents["unsettled"]
    if unsettled:
        console.print(f"{entity} not all done in {unsettled:,} of {total:,}:", highlight=False)
    for row in parents["rows"][:_PARENTS_SHOWN]:
        console.print(f"  {row['key']}: {in_words(row)}", highlight=False, markup=False)


def in_words(one: dict[str, Any]) -> str:
    """An account in a line: `240 read, 238 done, 1 skipped (discarded), 1 dead, 0 waiting`."""
    skipped = ", ".join(f"{count} {reason}" for reason, count in one["skipped"].items())
    parts = [f"{one['read']} read", f"{one['done']} done", f"{sum(one['skipped'].values())} skipped"]
    parts[-1] += f" ({skipped})" if skipped else ""
    return ", ".join([*parts, f"{one['dead']} dead", f"{one['waiting']} waiting"])
