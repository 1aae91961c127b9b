"""Which dead letters a command is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chatferry.common.entities import ENTITIES, Entity
from chatferry.common.errors import FatalError

CLASSES = ("permanent", "exhausted", "undecodable", "unknown", "rejected")
"""The importer's classes, and the extractor's: a record of the portal that cannot be taken."""

_LARGEST_CHAT = 2**53


@dataclass(frozen=True, slots=True)
class Selection:
    """All that is given has to fit. `ids`: of dead letters, or keys of records. `chat`: itself and its messages."""

    error_class: str | None = None
    code: str | None = None
    entity: str | None = None
    chat: int | None = None
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises FatalError that names what there is."""
        if self.error_class is not None and self.error_class not in CLASSES:
            raise FatalError(
                "dlq.class", f"there is no error class {self.error_class!r}; there are: {', '.join(CLASSES)}"
            )
        if self.entity is not None and self.entity not in ENTITIES:
            raise FatalError("dlq.entity", f"there is no entity {self.entity!r}; there are: {', '.join(ENTITIES)}")
        if self.chat is not None and not 1 <= self.chat <= _LARGEST_CHAT:
            raise FatalError("dlq.chat", "a chat is named by its number at the portal: --chat 84")

    @property
    def narrow(self) -> bool:
        """Whether anything was named at all."""
        return self != Selection()

    def match(self) -> dict[str, Any]:
        """The filter for `dead_letters`."""
        parts: list[dict[str, Any]] = []
        if self.error_class is not None:
            parts.append({"error_class": self.error_class})
        if self.code is not None:
            parts.append({"code": self.code})
        if self.entity is not None:
            parts.append({"entity": self.entity})
        if self.chat is not None:
            parts.append({"$or": [_of_chat(entity, self.chat) for entity in _chats_and_children()]})
        if self.ids:
            named = list(self.ids)
            parts.append({"$or": [{"_id": {"$in": named}}, {"key": {"$in": named}}]})
        return {"$and": parts} if parts else {}


def insist(selection: Selection, *, everything: bool) -> None:
    """Raises FatalError when nothing was named, or all and something."""
    if everything and selection.narrow:
        raise FatalError("dlq.both", "--all is for all of them; leave it out, or what narrows it down")
    if not everything and not selection.narrow:
        raise FatalError("dlq.none", "say which: --class, --code, --entity, --chat or --id; or all of them with --all")


def _chats_and_children() -> list[Entity]:
    return [entity for entity in ENTITIES.values() if entity.name == "chats" or entity.parent == "chats"]


def _of_chat(entity: Entity, chat: int) -> dict[str, Any]:
    """A chat's own letters have its number as `seq` (always), its messages' as `parent`."""
    return {"entity": entity.name, ("seq" if entity.parent is None else "parent"): chat}
