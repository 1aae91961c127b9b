"""How far a run is, cheaply: totals from metadata, the rest from small partial indexes. The ledger counts for real."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.documents import DEAD_LETTERS, INVENTORY, PARKED, SKIPPED, VERIFY_VERDICTS, WAITING
from chatferry.common.entities import Entity, Family
from chatferry.common.ledger import count_due


@dataclass(frozen=True, slots=True)
class Count:
    """One entity's records by how far they are."""

    entity: str
    listed: int
    extracted: int
    published: int
    imported: int
    verified: int
    skipped: int
    dead: int
    waiting: int
    parked: int


async def count_all(database: Database, family: Family, run: str) -> list[Count]:
    """Each entity of the family, as it stands in this run. OutageError when MongoDB is away."""
    with mongo_outage():
        return [await _count(database, family, entity, run) for entity in family.entities]


async def count_parked_keys(database: Database, entity: Entity) -> int:
    """Records that are parked, each once, however many of its versions are. The keys themselves stay with MongoDB."""
    keys: list[dict[str, Any]] = [{"$match": {"entity": entity.name}}, {"$group": {"_id": "$key"}}, {"$count": "n"}]
    return sum([int(row["n"]) async for row in database[PARKED].aggregate(keys, allowDiskUse=True)])


async def _count(database: Database, family: Family, entity: Entity, run: str) -> Count:
    records = database[entity.name]
    stored = await records.estimated_document_count()
    due = await count_due(database, entity)
    waiting = await records.count_documents({"status": {"$in": list(WAITING)}})
    dead = await database[DEAD_LETTERS].count_documents({"entity": entity.name, "state": "dead"})
    skipped = await records.count_documents({"status": SKIPPED})
    parked = await database[PARKED].count_documents({"entity": entity.name})
    return Count(
        entity=entity.name,
        listed=max(await _listed(database, family, entity), stored),
        extracted=stored,
        published=max(0, stored - due - dead),
        imported=max(0, stored - waiting - dead - skipped),
        verified=await _verified(database, entity, run),
        skipped=skipped,
        dead=dead,
        waiting=waiting,
        parked=parked,
    )


async def _verified(database: Database, entity: Entity, run: str) -> int:
    """Records that this run's comparison has found equal so far."""
    match = {"_id": {"$gte": f"{run}/{entity.name}/", "$lt": f"{run}/{entity.name}0"}}
    equal = {"$subtract": ["$tally.compared", "$tally.different"]}
    found = database[VERIFY_VERDICTS].aggregate([{"$match": match}, {"$group": {"_id": None, "n": {"$sum": equal}}}])
    return sum([int(row["n"]) async for row in found])


async def _listed(database: Database, family: Family, entity: Entity) -> int:
    """What the portal says it has, as far as it has been asked."""
    inventory = database[INVENTORY]
    if entity.parent is not None:
        match = {"family": family.name, "kind": "root"}
        total = inventory.aggregate([{"$match": match}, {"$group": {"_id": None, "n": {"$sum": "$claimed"}}}])
        return sum([int(row["n"]) async for row in total])
    if family.reading.walk is not None:
        return int(await inventory.count_documents({"family": family.name, "kind": "root"}))
    listing = await inventory.find_one({"_id": f"listing:{entity.name}"})
    strangers = await inventory.count_documents({"kind": "stranger", "of": entity.name, "state": "resolved"})
    return int((listing or {}).get("claimed") or 0) + int(strangers)
