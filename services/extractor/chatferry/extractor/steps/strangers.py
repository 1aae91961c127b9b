"""Users that records mention and the portal's list of users lacks: bots, extranet users, connectors (data.md §1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from chatferry.common.entities import ENTITIES
from chatferry.common.entities.reading import Refusal, whole
from chatferry.common.entities.reading import Strangers as Asking
from chatferry.extractor.domain.records import Candidate, Canonicalizer
from chatferry.extractor.ports import Lost, Portal, Records, Stranger, StrangerStore
from chatferry.extractor.steps.context import Drive, outlast

_KNOWN_MOST = 50_000
_ASK, _CALLS = 50, 20


_OF_THE_METHOD = frozenset(
    {"ERROR_METHOD_NOT_FOUND", "insufficient_scope", "ACCESS_DENIED", "allowed_only_intranet_user"}
)
"""Refusals that no other users in the question would change."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Users who are asked for by one command. `attempts`: how often that was refused for now."""

    users: tuple[Stranger, ...]
    attempts: int = 0


@dataclass(slots=True)
class _Told:
    """What came of one request. `later`: to be asked again in `pause_s`; `smaller`: at once."""

    resolved: int = 0
    smaller: list[_Chunk] = field(default_factory=list)
    later: list[_Chunk] = field(default_factory=list)
    pause_s: float = 0.0

    def again(self, chunk: _Chunk, pause_s: float) -> None:
        """Its turn comes again."""
        self.later.append(chunk)
        self.pause_s = max(self.pause_s, pause_s)


class Strangers:
    """Remembers who was looked up, in bounded memory; asks for all strangers, whoever met them, once a run."""

    def __init__(self, asking: Asking, drive: Drive, records: Records, store: StrangerStore) -> None:
        self._drive, self._records, self._store = drive, records, store
        self._asking, self._users = asking, ENTITIES[asking.entity]
        self._rows = Canonicalizer(self._users, asking.parse, drive.told, drive.limits.record_bytes_max)
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
        """Ask for all that this run has not asked for; how many records came.

        What is refused for now is asked for three times; a refusal for good is traced down to the users who cause it.
        """
        resolved = 0
        while wanted := await outlast(
            self._drive, lambda: self._store.wanted(self._users, self._drive.run, _ASK * _CALLS)
        ):
            resolved += await self._resolve(portal, webhook, wanted)
        return resolved

    async def _resolve(self, portal: Portal, webhook: int, wanted: Sequence[Stranger]) -> int:
        ready = [_Chunk(tuple(wanted[start : start + _ASK])) for start in range(0, len(wanted), _ASK)]
        later: list[_Chunk] = []
        resolved, pause = 0, 0.0
        while ready or later:
            self._drive.heed()
            if not ready:
                await self._drive.clock.sleep(pause)
                ready, later, pause = later, [], 0.0
            asked, ready = ready[:_CALLS], ready[_CALLS:]
            told = await outlast(self._drive, partial(self._ask, portal, webhook, asked))
            ready, later = [*told.smaller, *ready], [*later, *told.later]
            resolved, pause = resolved + told.resolved, max(pause, told.pause_s)
        return resolved

    async def _ask(self, portal: Portal, webhook: int, chunks: Sequence[_Chunk]) -> _Told:
        """One request. Users whose turn comes again are left as they are."""
        commands = [self._asking.command([one.seq for one in chunk.users], f"s{n}") for n, chunk in enumerate(chunks)]
        version = self._drive.sequence.take()
        answers = await portal.batch(webhook, commands)
        told, asked = _Told(), {one.seq: one for chunk in chunks for one in chunk.users}
        found: dict[int, Candidate] = {}
        ends: dict[int, tuple[str, str]] = {}
        for chunk, answer in zip(chunks, answers, strict=True):
            for row in self._asking.rows(answer.result):
                self._take(found, row)
            end = self._end(chunk, answer.refusal, told)
            ends |= {} if end is None else {one.seq: end for one in chunk.users}
        for seq in ends:
            if not _is_readable(found.get(seq)) and (shown := asked[seq].raw) is not None:
                self._take(found, shown)
        saved = [candidate for seq, candidate in found.items() if seq in asked]
        stored = await self._records.save(self._users, saved, version, fresh=False)
        self._drive.metrics.extracted.labels(self._users.name).inc(stored.new + stored.changed)
        resolved = [seq for seq in ends if seq in found]
        lost = [Lost(seq, *end) for seq, end in ends.items() if seq not in found]
        await self._store.settle(self._users, self._drive.run, resolved, lost)
        told.resolved = len(resolved)
        return told

    def _end(self, chunk: _Chunk, refusal: Refusal | None, told: _Told) -> tuple[str, str] | None:
        """State and reason of those of a chunk whom its answer lacks; None: it, or its halves, are asked for again."""
        pauses = self._drive.limits.retry_after_s
        if refusal is None:
            return "unresolvable", "no method of the portal knows this user"
        if refusal.later_s is not None:
            told.again(chunk, refusal.later_s)
            return None
        attempts = chunk.attempts + 1
        if refusal.transient and attempts < len(pauses):
            self._drive.metrics.retries.labels(self._users.name).inc()
            told.again(replace(chunk, attempts=attempts), pauses[attempts] * self._drive.jitter())
            return None
        if refusal.transient:
            return "failed", f"the portal refused it {attempts} times ({refusal.code})"
        if len(chunk.users) > 1 and refusal.code not in _OF_THE_METHOD:
            half = len(chunk.users) // 2
            told.smaller += [_Chunk(chunk.users[:half]), _Chunk(chunk.users[half:])]
            return None
        return "unreadable", f"the portal refused it ({refusal.code})"

    def _take(self, found: dict[int, Candidate], row: Mapping[str, Any]) -> None:
        """The first form that can be read, else the first: a reject. A row without an id is nobody's.

        Who was asked for and stays without a form is lost.
        """
        candidate = self._rows.row(row, {}, None)
        before = found.get(candidate.seq)
        if candidate.seq and (before is None or (_is_readable(candidate) and not _is_readable(before))):
            found[candidate.seq] = candidate


def _is_readable(candidate: Candidate | None) -> bool:
    return candidate is not None and candidate.payload is not None
