"""The indexes of the project's database, on a real MongoDB."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatferry.common.adapters.mongo import Database, OperationFailure
from chatferry.common.documents import create_indexes, indexes

pytestmark = pytest.mark.integration


async def _there(database: Database) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (collection, name): {
            "fields": tuple(field for field, _ in made["key"]),
            "only": made.get("partialFilterExpression"),
        }
        for collection in {index.collection for index in indexes()}
        for name, made in (await database[collection].index_information()).items()
        if name != "_id_"
    }


_WANTED = {(one.collection, one.name): {"fields": one.fields, "only": one.only} for one in indexes()}


async def test_every_index_is_made_once_however_often_it_is_asked_for(database: Database) -> None:
    await create_indexes(database)
    await create_indexes(database)
    assert await _there(database) == _WANTED


async def test_what_an_earlier_version_defined_otherwise_is_replaced_also_by_two_at_once(database: Database) -> None:
    await database["parked"].create_index([("parent", 1), ("topic", 1)], name="by_line")
    await database["dead_letters"].create_index([("replay", 1), ("state", 1)], name="by_replay")
    await asyncio.gather(create_indexes(database), create_indexes(database))
    assert await _there(database) == _WANTED


async def test_one_that_somebody_drops_while_it_is_built_is_made_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = type(database["parked"])
    create = collection.create_index
    aborted: list[str] = []

    async def once_in_vain(self: Any, fields: Any, *, name: str, **options: Any) -> None:
        if name == "by_line" and not aborted:
            aborted.append(name)
            raise OperationFailure("Index build failed: IndexBuildAborted", code=276)
        await create(self, fields, name=name, **options)

    monkeypatch.setattr(collection, "create_index", once_in_vain)
    await create_indexes(database)
    assert aborted == ["by_line"]
    assert await _there(database) == _WANTED
