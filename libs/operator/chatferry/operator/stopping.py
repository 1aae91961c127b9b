"""Ending a run from the command line: the request is written, the extractor ends the run at a safe point."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from chatferry.common.adapters.mongo import mongo_outage
from chatferry.common.contracts.events import RunStopped
from chatferry.common.documents import RUNS
from chatferry.common.errors import FatalError, StoppedError
from chatferry.operator.runs import UNDER_WAY, Store

_LOOK_S = 0.25


async def ask_to_stop(store: Store, run: str | None) -> str:
    """Ask for the end of a run, of the newest one under way without a name. Returns which. Safe to repeat.

    Raises FatalError when no such run is under way.
    """
    found = await _under_way(store, run)
    reason, now = StoppedError().sentence, datetime.now(UTC)
    with mongo_outage():
        # The first request stands; a run that has ended meanwhile keeps its end.
        await store.database[RUNS].update_one(
            {"_id": found, "state": {"$in": list(UNDER_WAY)}, "stop": None},
            {"$set": {"stop": {"at": now, "reason": reason}}},
        )
    await store.tell("run.stopped", f"{found}/stopped/{now:%Y%m%dT%H%M%S.%f}", RunStopped(run=found, reason=reason))
    return found


async def wait_for_end(store: Store, run: str, seconds: float) -> dict[str, Any]:
    """The run once it is not under way any more; as it is when the time is over."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        document = await store.run(run)
        if document.get("state") not in UNDER_WAY or loop.time() >= deadline:
            return document
        await asyncio.sleep(_LOOK_S)


async def _under_way(store: Store, run: str | None) -> str:
    with mongo_outage():
        if run is None:
            newest = store.database[RUNS].find({"state": {"$in": list(UNDER_WAY)}}).sort("requested_at", -1).limit(1)
            for document in await newest.to_list(1):
                return str(document["_id"])
            raise FatalError("stop.nothing", f"no run is under way in project {store.project.name}")
        named = await store.database[RUNS].find_one({"_id": run})
    if named is None:
        raise FatalError("stop.unknown", f"there is no run {run!r}; `chatferry status` names the newest")
    if named["state"] not in UNDER_WAY:
        raise FatalError("stop.over", f"run {run} is not under way: it is {named['state']}")
    return run
