"""`chatferry status --json --chats all`: the same object, with the ledger of every chat, however many there are."""

from __future__ import annotations

import json
from typing import Any, TextIO

from chatferry.common.adapters.mongo import Database, mongo_outage
from chatferry.common.entities import FAMILIES, Entity
from chatferry.common.ledger import each_parent

_PARENTS = "ledger_per_parent"


async def write_whole(state: dict[str, Any], database: Database, out: TextIO) -> None:
    """Row by row, as MongoDB gives them: what is held does not grow with the chats.

    Raises OutageError; what was written until then is no JSON.
    """
    head = json.dumps({name: value for name, value in state.items() if name != _PARENTS}, ensure_ascii=False, indent=1)
    if "outage" in state:
        out.write(head + "\n")
        return
    out.write(f'{head.removesuffix("}").rstrip()},\n "{_PARENTS}": {{')
    children = [entity for family in FAMILIES.values() for entity in family.children]
    for number, entity in enumerate(children):
        out.write(f'{"," if number else ""}\n  "{entity.name}": {{"rows": [')
        settled, unsettled = await _write_rows(database, entity, out)
        out.write(f'\n  ], "settled": {settled}, "unsettled": {unsettled}}}')
    out.write("\n }\n}\n")


async def _write_rows(database: Database, entity: Entity, out: TextIO) -> tuple[int, int]:
    """How many of them are done to the last record, and how many are not."""
    counts = [0, 0]
    with mongo_outage():
        async for one in each_parent(database, entity):
            row = {"key": one.key, **one.account.as_json()}
            out.write(f"{',' if sum(counts) else ''}\n   {json.dumps(row, ensure_ascii=False)}")
            counts[not one.settled] += 1
    return counts[0], counts[1]
