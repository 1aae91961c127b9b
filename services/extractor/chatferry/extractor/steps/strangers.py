"""Users that records mention and the portal's list of users lacks: bots, extranet users, connectors (data.md §1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.entities.reading import Answer, Refusal, whole
from chatferry.common.entities.users import STRANGERS
from chatferry.extractor.domain.records import Candidate, Canonicalizer
from chatferry.extractor.ports import Portal, Records, Stranger, StrangerStore
from chatferry.extractor.steps.context import Drive, outlast

_KNOWN_MOST = 50_000
_ASK, _CALLS = 50, 20


@dataclass(frozen=True, slots=True)
class _Asked:
    """`again`: why some have to be asked for once more."""

    resolved: int
    again: Refusal | None


class Strangers:
    """Remembers who was looked up, in bounded memory; asks for all strangers, whoever met them, once a run."""

    def __init__(self, drive: Drive, records: Records, store: StrangerStore) -> None:
        self._drive, self._records, self._store = drive, records, store
        self._users: Entity = ENTITIES["users"]
        self._rows = Canonicalizer(self._users, STRANGERS.parse, drive.told, drive.limits.record_bytes_max)
        self._known: OrderedDict[int, None] = OrderedDict()

    async def note(self, mentioned: set[int], raw: Iterable[Mapping[str, Any]]) -> None:
        """Enter those of these users that have no record, and how pages show the strangers that have one."""
        asked = sorted(number for number in mentioned if number not in self._known)
        if not asked:
            return
        unknown = await self._store.unknown(self._users, asked)
        shown = {number: user for user in raw if (number := whole(user.get("id"))) is not None}
        await self._store.want(self._users, [Stranger(number, shown.get(number)) for number in asked], unknown)
        for number in asked:
            self._known[number] = None
        while len(self._known) > _KNOWN_MOST:
            self._known.popitem(last=False)

    async def resolve(self, portal: Portal, webhook: int) -> int:
        """Ask for all that this run has not asked for, those that are refused for now three times.

        Returns how many records came.
        """
        resolved = attempt = 0
        pauses = self._drive.limits.retry_after_s
        while wanted := await outlast(
            self._drive, lambda: self._store.wanted(self._users, self._drive.run, _ASK * _CALLS)
        ):
            self._drive.heed()
            last = attempt + 1 >= len(pauses)
            asked = await outlast(self._drive, lambda: self._ask(portal, webhook, wanted, last=last))  # noqa: B023
            resolved += asked.resolved
            if asked.again is None:
                attempt = 0
            elif asked.again.later_s is not None:
                await self._drive.clock.sleep(asked.again.later_s)
            else:
                attempt += 1
                await self._drive.clock.sleep(pauses[min(attempt, len(pauses) - 1)] * self._drive.jitter())
        return resolved

    async def _ask(self, portal: Portal, webhook: int, wanted: Sequence[Stranger], *, last: bool) -> _Asked:
        chunks = [wanted[start : start + _ASK] for start in range(0, len(wanted), _ASK)]
        commands = [STRANGERS.command([one.seq for one in chunk], f"s{n}") for n, chunk in enumerate(chunks)]
        version = self._drive.sequence.take()
        answers = await portal.batch(webhook, commands)
        found: dict[int, Candidate] = {}
        for answer in answers:
            for row in STRANGERS.rows(answer.result):
                self._take(found, row)
        again, unanswered = _refused_for_now(chunks, answers, last=last)
        for one in wanted:
            if one.seq not in found and one.seq not in unanswered and one.raw is not None:
                self._take(found, one.raw)
        await self._records.save(self._users, list(found.values()), version, fresh=False)
        self._drive.metrics.extracted.labels(self._users.name).inc(len(found))
        resolved = [one.seq for one in wanted if one.seq in found]
        lost = [one.seq for one in wanted if one.seq not in found and one.seq not in unanswered]
        await self._store.settle(self._users, self._drive.run, resolved, lost)
        return _Asked(len(resolved), again)

    def _take(self, found: dict[int, Candidate], row: Mapping[str, Any]) -> None:
        candidate = self._rows.row(row, {}, None)
        if candidate.payload is not None:
            found.setdefault(candidate.seq, candidate)


def _refused_for_now(
    chunks: Sequence[Sequence[Stranger]], answers: Sequence[Answer], *, last: bool
) -> tuple[Refusal | None, set[int]]:
    """Users whose turn comes again, and why; after the last attempt only those that are to be asked for later."""
    again: Refusal | None = None
    users: set[int] = set()
    for chunk, answer in zip(chunks, answers, strict=True):
        refusal = answer.refusal
        if refusal is not None and refusal.transient and (refusal.later_s is not None or not last):
            again = refusal
            users.update(one.seq for one in chunk)
    return again, users
