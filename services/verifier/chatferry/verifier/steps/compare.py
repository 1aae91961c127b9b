"""The full comparison of the records under one parent, or of all roots of an entity, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chatferry.common.documents import SKIPPED
from chatferry.common.entities import Entity
from chatferry.common.entities.users import USERS
from chatferry.verifier.domain.comparison import Comparison, Finding, OutOfOrderError
from chatferry.verifier.domain.errors import ReadBackError
from chatferry.verifier.domain.facts import Mismatch, Verdict
from chatferry.verifier.domain.lines import SourceLine, TargetItem
from chatferry.verifier.domain.sample import Sample
from chatferry.verifier.ports import Findings, Records, Source, Target
from chatferry.verifier.steps.ahead import Ahead, close
from chatferry.verifier.steps.explain import explain

_LINES_AT_ONCE = 1_000
_ALTERED_MAX = 100
ROOTS = "*"


@dataclass(frozen=True, slots=True)
class Parent:
    """The root record whose children are compared."""

    key: str
    seq: int


@dataclass(slots=True)
class _Noted:
    """What one comparison notes beside the differences. `mentions`: users by the root record that concerns them."""

    mentions: dict[str, set[int]] = field(default_factory=dict)
    users: int = 0
    unmapped: int = 0
    different_users: int = 0
    sampled: list[str] = field(default_factory=list)
    altered: list[dict[str, Any]] = field(default_factory=list)
    altered_total: int = 0


@dataclass(frozen=True, slots=True)
class Comparer:
    """Compares, names what differs, and keeps it. Memory: a few pages, and the users of one chat."""

    records: Records
    target: Target
    source: Source
    findings: Findings
    sample: Sample
    sampled_entity: str

    async def compare(self, entity: Entity, parent: Parent | None) -> Verdict:
        """Compare anew, whatever was found before. Raises OutageError; all else the target does is in the verdict."""
        key = parent.key if parent is not None else None
        await self.findings.begin(entity, key)
        comparison, noted = Comparison(), _Noted()
        wrong = None
        try:
            await self._stream(entity, parent, comparison, noted)
            await self._map_users(entity, parent, noted)
        except ReadBackError as unusable:
            wrong = unusable.sentence
        except OutOfOrderError as late:
            wrong = f"the target does not list {entity.name} in ascending order of the source ids, see {late.key}"
        if wrong is not None:
            await self.findings.add([Mismatch(entity.name, key or ROOTS, key, "read_back", "", {"reason": wrong})])
        return Verdict(
            entity=entity.name,
            key=key or ROOTS,
            tally=comparison.tally,
            fingerprint=comparison.fingerprint,
            users=noted.users,
            unmapped=noted.unmapped,
            altered=tuple(noted.altered),
            altered_total=noted.altered_total,
            sample=tuple(self.sample.among(noted.sampled)),
            unreadable=wrong,
            different_users=noted.different_users,
        )

    async def _stream(self, entity: Entity, parent: Parent | None, comparison: Comparison, noted: _Noted) -> None:
        lines = Ahead(self._lines_of(entity, parent), -1)
        items = Ahead(self._items_of(entity, parent), None)
        try:
            while not comparison.finished:
                if comparison.wants_lines:
                    page, last = await lines.take()
                    comparison.feed_lines(page, last=last)
                    self._note_lines(entity, page, noted)
                if comparison.wants_items:
                    listed, last = await items.take()
                    comparison.feed_items(listed, last=last)
                found = comparison.advance()
                await self._note_matched(entity, parent, comparison.matched, noted)
                if found:
                    await self._add(entity, parent, found, noted)
        finally:
            await close(lines, items)

    def _lines_of(self, entity: Entity, parent: Parent | None) -> Any:
        async def fetch(after: int) -> tuple[Sequence[SourceLine], int | None]:
            page = await self.records.page(entity, parent.seq if parent else None, after, _LINES_AT_ONCE)
            return page, page[-1].seq if len(page) == _LINES_AT_ONCE else None

        return fetch

    def _items_of(self, entity: Entity, parent: Parent | None) -> Any:
        async def fetch(after: str | None) -> tuple[Sequence[TargetItem], str | None]:
            page = await self.target.page(entity, parent.key if parent else None, after)
            return page.items, page.next

        return fetch

    def _note_lines(self, entity: Entity, page: Sequence[SourceLine], noted: _Noted) -> None:
        if entity.name == self.sampled_entity:
            offer = self.sample.offer
            noted.sampled += [line.key for line in page if line.status != SKIPPED and offer(line.key)]
        for line in page:
            if line.flags:
                noted.altered_total += 1
                if len(noted.altered) < _ALTERED_MAX:
                    noted.altered.append({"entity": entity.name, "key": line.key, "flags": list(line.flags)})

    async def _note_matched(
        self, entity: Entity, parent: Parent | None, matched: Sequence[tuple[SourceLine, TargetItem]], noted: _Noted
    ) -> None:
        user_ids = entity.user_ids
        if parent is not None:
            mentioned = noted.mentions.setdefault(parent.key, set())
            for _, item in matched:
                mentioned.update(user_ids(item.data))
            return
        for line, item in matched:
            if users := set(user_ids(item.data)):
                noted.mentions[line.key] = users
        await self._map_users(entity, parent, noted)

    async def _map_users(self, entity: Entity, parent: Parent | None, noted: _Noted) -> None:
        """Every user mentioned so far must be in the user map; those that are not are named with their chat."""
        mentions, noted.mentions = noted.mentions, {}
        noted.users += sum(len(users) for users in mentions.values())
        unknown = await self.source.unmapped(set().union(*mentions.values()))
        if not unknown:
            return
        for key, users in mentions.items():
            strangers = sorted(users & unknown)
            noted.unmapped += len(strangers)
            await self.findings.add(
                [
                    Mismatch(
                        entity.name, key, parent.key if parent else None, "mapping", USERS.key(user), {"user_id": user}
                    )
                    for user in strangers
                ]
            )

    async def _add(self, entity: Entity, parent: Parent | None, found: Sequence[Finding], noted: _Noted) -> None:
        mismatches, users_differ = await explain(self.records, entity, parent.key if parent else None, found)
        noted.different_users += users_differ
        await self.findings.add(mismatches)
