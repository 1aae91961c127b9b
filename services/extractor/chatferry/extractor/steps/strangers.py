"""Users that records mention and the portal's list of users lacks: bots, extranet users, connectors (data.md §1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.entities.reading import whole
from chatferry.common.entities.users import STRANGERS
from chatferry.extractor.domain.records import Candidate, Canonicalizer
from chatferry.extractor.ports import Portal, Records, Stranger, StrangerStore
from chatferry.extractor.steps.context import Drive, outlast

_KNOWN_MOST = 50_000
_ASK, _CALLS = 50, 20


class Strangers:
    """Remembers who has a record, in bounded memory; asks for those who have none."""

    def __init__(self, drive: Drive, records: Records, store: StrangerStore) -> None:
        self._drive, self._records, self._store = drive, records, store
        self._users: Entity = ENTITIES["users"]
        self._rows = Canonicalizer(self._users, STRANGERS.parse, drive.told, drive.limits.record_bytes_max)
        self._known: OrderedDict[int, None] = OrderedDict()

    async def note(self, mentioned: set[int], raw: Iterable[Mapping[str, Any]]) -> None:
        """Enter those of these users that have no record."""
        asked = sorted(number for number in mentioned if number not in self._known)
        if not asked:
            return
        unknown = await self._records.unknown_users(self._users, asked)
        shown = {number: user for user in raw if (number := whole(user.get("id"))) in unknown and number is not None}
        await self._store.want(self._users, [Stranger(number, shown.get(number)) for number in sorted(unknown)])
        for number in asked:
            self._known[number] = None
        while len(self._known) > _KNOWN_MOST:
            self._known.popitem(last=False)

    async def resolve(self, portal: Portal, webhook: int) -> int:
        """Ask for all that are wanted. Returns how many records that gave."""
        resolved = 0
        while wanted := await self._store.wanted(self._users, _ASK * _CALLS):
            resolved += await outlast(self._drive, lambda wanted=wanted: self._ask(portal, webhook, wanted))  # type: ignore[misc]
        return resolved

    async def _ask(self, portal: Portal, webhook: int, wanted: Sequence[Stranger]) -> int:
        chunks = [wanted[start : start + _ASK] for start in range(0, len(wanted), _ASK)]
        commands = [STRANGERS.command([one.seq for one in chunk], f"s{n}") for n, chunk in enumerate(chunks)]
        version = self._drive.sequence.take()
        answers = await portal.batch(webhook, commands)
        found: dict[int, Candidate] = {}
        for answer in answers:
            for row in STRANGERS.rows(answer.result):
                self._take(found, row)
        for one in wanted:
            if one.seq not in found and one.raw is not None:
                self._take(found, one.raw)
        await self._records.save(self._users, list(found.values()), version, fresh=False)
        self._drive.metrics.extracted.labels(self._users.name).inc(len(found))
        resolved = [one.seq for one in wanted if one.seq in found]
        await self._store.settle(self._users, resolved, [one.seq for one in wanted if one.seq not in found])
        return len(resolved)

    def _take(self, found: dict[int, Candidate], row: Mapping[str, Any]) -> None:
        candidate = self._rows.row(row, {}, None)
        if candidate.payload is not None:
            found.setdefault(candidate.seq, candidate)
