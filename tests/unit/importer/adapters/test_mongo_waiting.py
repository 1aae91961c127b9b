"""What the waiting rows' store makes of MongoDB's answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from tests.unit.importer.machine import Machine, message

from chatferry.common.adapters.mongo import BulkWriteError, Database
from chatferry.common.entities import ENTITIES
from chatferry.common.errors import OutageError
from chatferry.importer.adapters.mongo_waiting import MongoParked
from chatferry.importer.domain.records import read_record


class _Collection:
    """Refuses each insert in the given way."""

    def __init__(self, details: dict[str, Any]) -> None:
        self._details = details

    async def insert_many(self, documents: list[dict[str, Any]], *, ordered: bool) -> None:
        del documents, ordered
        raise BulkWriteError(self._details)

    async def find(self, *_: object) -> AsyncIterator[dict[str, Any]]:
        yield {"_id": "p.chat_messages/0/0", "timestamp": 0}


def _parked(details: dict[str, Any]) -> MongoParked:
    return MongoParked(cast("Database", {"parked": _Collection(details)}))


async def _park(details: dict[str, Any]) -> None:
    raw = Machine().publish("chat_messages", message(1, 2))
    await _parked(details).park([(read_record(raw, ENTITIES["chat_messages"], "p"), "behind", None)])


async def test_a_row_that_no_majority_keeps_is_not_parked() -> None:
    with pytest.raises(OutageError):
        await _park({"writeErrors": [], "writeConcernErrors": [{"code": 189, "errmsg": "stepping down"}]})


async def test_a_row_that_is_there_is_parked() -> None:
    await _park({"writeErrors": [{"index": 0, "code": 11000, "errmsg": "there"}], "writeConcernErrors": []})


async def test_a_row_that_mongodb_refuses_is_an_error() -> None:
    with pytest.raises(BulkWriteError):
        await _park({"writeErrors": [{"index": 0, "code": 10334, "errmsg": "too large"}], "writeConcernErrors": []})
