"""Every family that chatferry moves. Adding one adds a module here, its record models and its tests."""

from __future__ import annotations

from chatferry.common.entities.chats import CHATS_FAMILY
from chatferry.common.entities.entity import Entity, Family, Payload
from chatferry.common.entities.users import USERS_FAMILY

__all__ = ["ENTITIES", "FAMILIES", "Entity", "Family", "Payload"]

FAMILIES: dict[str, Family] = {family.name: family for family in (USERS_FAMILY, CHATS_FAMILY)}
ENTITIES: dict[str, Entity] = {entity.name: entity for family in FAMILIES.values() for entity in family.entities}
