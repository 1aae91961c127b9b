"""Users: employees, extranet users, bots, dismissed ones too."""

from __future__ import annotations

from chatferry.common.contracts.records import User
from chatferry.common.entities.entity import Entity, Family

USERS = Entity(
    name="users",
    family="users",
    model=User,
    key_prefix="source:user:",
    batch_size=50,
    user_ids=lambda user: (),
    content=("name", "email", "active", "bot", "external"),
)

USERS_FAMILY = Family(name="users", scope="user", entities=(USERS,))
