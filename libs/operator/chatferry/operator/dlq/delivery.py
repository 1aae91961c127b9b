"""Whether the importers deliver a family now; and letting one go on that too many dead letters have stopped."""

from __future__ import annotations

from collections.abc import Sequence

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.counts import count_parked_keys
from chatferry.common.documents import DEAD_LETTERS, ENTITY_STATES, RUNS, WAITING
from chatferry.common.entities import ENTITIES, FAMILIES
from chatferry.common.errors import FatalError
from chatferry.operator.dlq.selection import Selection
from chatferry.operator.runs import UNDER_WAY, family_named


async def halted(database: Database) -> dict[str, str]:
    """Families that were stopped, and why."""
    with mongo_outage():
        rows = database[ENTITY_STATES].find({"halted": {"$ne": None}}, {"halted": 1})
        return {row["_id"]: str(row["halted"]) async for row in rows}


async def halted_of(database: Database, selection: Selection) -> dict[str, str]:
    """Those of them that have something of the selection left."""
    families, stopped = await _families(database, selection), await halted(database)
    return {family: stopped[family] for family in families if family in stopped}


async def resume(database: Database, family: str | None) -> list[str]:
    """Let the family, or all that were stopped, be delivered again; returns which were."""
    wanted = list(FAMILIES) if family is None else [family_named(family).name]
    named = [name for name in await halted(database) if name in wanted]
    with mongo_outage():
        await database[ENTITY_STATES].update_many({"_id": {"$in": named}}, {"$unset": {"halted": ""}})
    return named


async def open_for(database: Database, selection: Selection) -> None:
    """See to it that what is replayed is delivered. Raises FatalError, with nothing changed, where it must not be."""
    families = await _families(database, selection)
    for family, why in (await halted_of(database, selection)).items():
        raise FatalError("dlq.halted", f"nothing of {family} is delivered: {why}")
    with mongo_outage():
        opened = {"_id": {"$in": families}, "set_open": True}
        there = {row["_id"] async for row in database[ENTITY_STATES].find(opened, {"_id": 1})}
    for family in families:
        if family not in there:
            await _open(database, family)


async def _families(database: Database, selection: Selection) -> Sequence[str]:
    living = {"state": {"$in": ["dead", "replaying"]}, "service": "importer", **selection.match()}
    with mongo_outage():
        names = await database[DEAD_LETTERS].distinct("entity", living)
    return sorted({ENTITIES[name].family for name in names})


async def _open(database: Database, family: str) -> None:
    """The newest run delivered nothing (it read, or verified, only). Only a replay may go, not what it left."""
    with mongo_outage():
        run = await database[RUNS].find_one({"state": {"$in": list(UNDER_WAY)}}, {"_id": 1})
        if run is not None:
            raise FatalError(
                "dlq.closed", f"run {run['_id']} is under way and delivers nothing of {family}: wait for its end"
            )
        if await _left_to_deliver(database, family):
            raise FatalError(
                "dlq.closed",
                f"records of {family} were read and not delivered: `chatferry migrate {family} --phase set` first",
            )
        await database[ENTITY_STATES].update_one({"_id": family}, {"$set": {"set_open": True}}, upsert=True)


async def _left_to_deliver(database: Database, family: str) -> bool:
    for entity in FAMILIES[family].entities:
        waiting = await database[entity.name].count_documents({"status": {"$in": list(WAITING)}})
        parked = await count_parked_keys(database, entity)
        on_the_way = await database[DEAD_LETTERS].count_documents({"entity": entity.name, "state": "replaying"})
        if waiting > parked + on_the_way:
            return True
    return False
