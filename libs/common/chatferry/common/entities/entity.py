"""What an entity is: one small declaration. The services know no entity by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chatferry.common.contracts.records import Record
from chatferry.common.entities.reading import Reading

Payload = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entity:
    """One kind of record on its way from portal to target.

    `name` is its topic, its collection and its `entity` at the target. `parent` names the entity whose record must be
    at the target first, `parent_of` gives that record's id. `user_ids` gives every user a record mentions: they are
    resolved at the source, and mapped by the verifier. `content` are the fields the verifier's sample names.
    """

    name: str
    family: str
    model: type[Record]
    key_prefix: str
    batch_size: int
    user_ids: Callable[[Payload], Iterable[int]]
    content: tuple[str, ...]
    parent: str | None = None
    parent_of: Callable[[Payload], int] | None = None

    def key(self, record_id: int | str) -> str:
        """The idempotency key, `_id` of the record's document: `source:chat:msg:84869`."""
        return f"{self.key_prefix}{record_id}"

    @property
    def event_type(self) -> str:
        """`ce_type` of the record's event."""
        return f"{self.name}.extracted"


@dataclass(frozen=True, slots=True)
class Family:
    """Entities that are read, set and verified by one run; parents first. `needs` are families imported before."""

    name: str
    scope: str
    entities: tuple[Entity, ...]
    reading: Reading
    needs: tuple[str, ...] = ()

    @property
    def root(self) -> Entity:
        """The entity that the portal lists; the others hang on its records."""
        return self.entities[0]

    @property
    def children(self) -> tuple[Entity, ...]:
        """Entities read inside each record of the root."""
        return tuple(entity for entity in self.entities if entity.parent == self.root.name)
