"""The bytes of dead letters: found on `dlq` or in their row, sent to the topic they came from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from chatferry.common.adapters.mongo import Database, UpdateOne, mongo_outage
from chatferry.common.adapters.raw_form import read_raw
from chatferry.common.clock import Clock
from chatferry.common.contracts.envelope import DEAD_LETTER_HEADERS, REJECT_ID, REPLAY_OF
from chatferry.common.documents import DEAD_LETTERS
from chatferry.common.errors import PermanentError
from chatferry.common.streaming.lookup import RecordLookup
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing, Partition, RawRecord
from chatferry.operator.dlq.ports import Content, Letter
from chatferry.operator.folder import Project

_BATCH_BYTES = 1_000_000
_NOT_COPIED = {"raw": 1}


class DlqContents:
    """Port `Contents`. Where a copy lies is noted in its row, so that the topic is looked through once."""

    def __init__(self, database: Database, lookup: RecordLookup, topic: str) -> None:
        self._rows, self._lookup, self._topic = database[DEAD_LETTERS], lookup, topic
        self._looked_through = False

    async def read(self, letters: Sequence[Letter]) -> dict[str, Content]:
        contents = await self._kept([letter.id for letter in letters])
        places = {letter.id: letter.copy for letter in letters if letter.id not in contents}
        if None in places.values() and not self._looked_through:
            await self._note_places()
            self._looked_through = True
        places = await self._places(places)
        wanted: dict[Partition, list[int]] = defaultdict(list)
        for place in places.values():
            if place is not None:
                wanted[Partition(self._topic, place[0])].append(place[1])
        found = await self._lookup.read(wanted)
        for one, place in places.items():
            record = None if place is None else found.get((Partition(self._topic, place[0]), place[1]))
            # A topic that was made anew has other records at these offsets.
            if record is not None and id_of(record) == one:
                contents[one] = as_it_was(record)
        return contents

    async def _kept(self, ids: Sequence[str]) -> dict[str, Content]:
        """Those too large for `dlq`, and those whose copy is not answered for yet, have their bytes in the row."""
        with mongo_outage():
            rows = self._rows.find({"_id": {"$in": list(ids)}, "raw": {"$ne": None}}, _NOT_COPIED)
            return {row["_id"]: _of_row(row["raw"]) async for row in rows}

    async def _places(self, places: Mapping[str, tuple[int, int] | None]) -> dict[str, tuple[int, int] | None]:
        unknown = [one for one, place in places.items() if place is None]
        noted = {"_id": {"$in": unknown}, "copy": {"$ne": None}}
        with mongo_outage():
            found = {row["_id"]: row["copy"] async for row in self._rows.find(noted, {"copy": 1})}
        return {**places, **{one: (int(copy["partition"]), int(copy["offset"])) for one, copy in found.items()}}

    async def _note_places(self) -> None:
        async for batch in self._lookup.scan(self._topic):
            places = {id_of(record): record for record in batch}
            with mongo_outage():
                missing = self._rows.find({"_id": {"$in": list(places)}, "copy": None}, {"_id": 1})
                updates = [
                    UpdateOne({"_id": row["_id"]}, {"$set": {"copy": _place(places[row["_id"]])}})
                    async for row in missing
                ]
                if updates:
                    await self._rows.bulk_write(updates, ordered=False)


class TopicOutlet:
    """Port `Outlet`."""

    def __init__(self, producer: RecordProducer) -> None:
        self._producer = producer

    async def send(self, letters: Sequence[tuple[Letter, Content]]) -> set[str]:
        try:
            await self._producer.send([_outgoing(*one) for one in letters])
        except PermanentError:
            return {letter.id for letter, content in letters if not await self._goes_alone(letter, content)}
        return set()

    async def _goes_alone(self, letter: Letter, content: Content) -> bool:
        try:
            await self._producer.send([_outgoing(letter, content)])
        except PermanentError:
            return False
        return True


@asynccontextmanager
async def contents_of(database: Database, project: Project, clock: Clock) -> AsyncIterator[DlqContents]:
    """The contents of the project's dead letters."""
    async with RecordLookup(project.kafka, clock, client_id=f"{project.name}.operator") as lookup:
        yield DlqContents(database, lookup, f"{project.name}.dlq")


@asynccontextmanager
async def outlet_of(project: Project) -> AsyncIterator[TopicOutlet]:
    """The project's topics."""
    producer = RecordProducer(project.kafka, client_id=f"{project.name}.operator", batch_bytes=_BATCH_BYTES)
    try:
        yield TopicOutlet(producer)
    finally:
        await producer.close()


def id_of(copy: RawRecord) -> str:
    """`_id` of the dead letter that lies here on `dlq`."""
    told = {name: (value or b"").decode(errors="replace") for name, value in copy.headers}
    if REJECT_ID in told and not _of_importer(copy):
        return told[REJECT_ID]
    return "/".join(told.get(name, "") for name in DEAD_LETTER_HEADERS[:3])


def as_it_was(copy: RawRecord) -> Content:
    """The record without what was added to its copy. What came from the portal itself had no headers."""
    headers = tuple(copy.headers)
    if _of_importer(copy):
        return Content(copy.key, copy.value, headers[: -len(DEAD_LETTER_HEADERS)])
    if any(name == REJECT_ID for name, _ in headers):
        return Content(copy.key, copy.value, ())
    return Content(copy.key, copy.value, headers)


def _of_importer(copy: RawRecord) -> bool:
    """By its last headers, which nobody else has written: those before them may say anything."""
    last = tuple(copy.headers)[-len(DEAD_LETTER_HEADERS) :]
    return tuple(name for name, _ in last) == DEAD_LETTER_HEADERS


def _place(copy: RawRecord) -> dict[str, int]:
    return {"partition": copy.partition, "offset": copy.offset}


def _of_row(raw: Mapping[str, object]) -> Content:
    return Content(*read_raw(raw))


def _outgoing(letter: Letter, content: Content) -> Outgoing:
    """What replayed it before is told by that dead letter."""
    own = tuple((name, value) for name, value in content.headers if name != REPLAY_OF)
    return Outgoing(letter.topic, content.key, content.value, (*own, (REPLAY_OF, letter.id.encode())))
