"""Who may go: a child once its parent is imported, a record once no dead one of its line forbids it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from chatferry.common.documents import SKIPPED
from chatferry.common.entities import ENTITIES, Entity
from chatferry.importer.domain.records import Line
from chatferry.importer.ports import DeadView, Records


class Gate:
    """Remembers a bounded number of imported parents: an imported version never goes away."""

    def __init__(self, records: Records, dead: DeadView, *, may_pass_dead: bool, remembered: int = 100_000) -> None:
        self._records, self._dead, self._may_pass_dead = records, dead, may_pass_dead
        self._most = remembered
        self._open: OrderedDict[tuple[str, int], None] = OrderedDict()

    async def closed_parents(self, entity: Entity, parents: Collection[int]) -> set[int]:
        """Which parents of this entity's records are not imported yet; empty for a root."""
        if entity.parent is None:
            return set()
        parent = ENTITIES[entity.parent]
        asked = {parent.key(number): number for number in parents if not self._remembers(parent.name, number)}
        if not asked:
            return set()
        there = await self._records.imported(parent, list(asked))
        for key in there:
            self._remember(parent.name, asked[key])
        return {number for key, number in asked.items() if key not in there}

    async def discarded(self, entity: Entity, parents: Collection[int]) -> set[int]:
        """Which of these closed parents will never be imported, for an operator has discarded them."""
        if entity.parent is None or not parents:
            return set()
        parent = ENTITIES[entity.parent]
        keys = {parent.key(number): number for number in parents}
        standings = await self._records.standings(parent, list(keys))
        return {keys[key] for key, one in standings.items() if one.status == SKIPPED and not one.imported_version}

    async def held_by_dead(self, entity: Entity, parents: Collection[int]) -> set[int]:
        """Which lines wait for a dead record to be replayed or discarded.

        Where passing is allowed, those of children with one that is dead of temporary errors: a root's later version
        takes the place of the dead one.
        """
        if not parents or (self._may_pass_dead and entity.parent is None):
            return set()
        return await self._dead.holding(entity, parents, exhausted_only=self._may_pass_dead)

    async def passable(
        self, due: Sequence[Line], gated: Sequence[Line], topics: Mapping[str, Entity]
    ) -> tuple[list[Line], set[Line]]:
        """Those of the lines of which a record may go now, or end with its discarded parent; in their order.

        And those among them of which only replays may, for a dead record holds them: what is due may be one.
        """
        passable: set[Line] = set()
        held: set[Line] = set()
        for topic in sorted({line.topic for line in (*due, *gated)}):
            entity = topics[topic]
            asked = [line for line in (*due, *gated) if line.topic == topic]
            closed = await self.closed_parents(entity, {line.parent for line in asked})
            closed -= await self.discarded(entity, closed)
            behind = await self.held_by_dead(entity, {line.parent for line in asked} - closed)
            held.update(line for line in due if line.topic == topic and line.parent in behind)
            passable.update(line for line in asked if line.parent not in closed | behind)
        return [line for line in (*due, *gated) if line in passable or line in held], held

    def _remembers(self, entity: str, number: int) -> bool:
        if (entity, number) not in self._open:
            return False
        self._open.move_to_end((entity, number))
        return True

    def _remember(self, entity: str, number: int) -> None:
        self._open[entity, number] = None
        if len(self._open) > self._most:
            self._open.popitem(last=False)
