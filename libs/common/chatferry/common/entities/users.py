"""Users: employees, extranet users, bots, dismissed ones too (reference: bitrix24.md §5.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chatferry.common.contracts.records import User
from chatferry.common.entities.entity import Entity, Family, Payload
from chatferry.common.entities.reading import (
    Command,
    Parsed,
    Reading,
    Strangers,
    Understanding,
    View,
    Walk,
    map_of,
    rows_of,
    text_or_none,
    whole,
    wholes,
)
from chatferry.common.entities.walks import KeysetWalk
from chatferry.common.errors import RejectError


def parse_user(row: Mapping[str, Any], _: Mapping[str, Any], __: Understanding) -> Parsed:
    """A row of `user.get`: upper-case keys, empty strings for what is not known, keys left out at will."""
    number = whole(row.get("ID"))
    if number is None:
        raise RejectError("record.no_id", "a user without an id")
    first, last = text_or_none(row.get("NAME")), text_or_none(row.get("LAST_NAME"))
    kind = row.get("USER_TYPE")
    return Parsed(
        {
            "id": number,
            "name": " ".join(part for part in (first, last) if part) or None,
            "first_name": first,
            "last_name": last,
            "email": text_or_none(row.get("EMAIL")),
            "active": _flag(row.get("ACTIVE")),
            "bot": False,
            "external": kind == "extranet" if isinstance(kind, str) and kind else None,
            "work_position": text_or_none(row.get("WORK_POSITION")),
            "departments": wholes(row.get("UF_DEPARTMENT")),
        }
    )


def parse_im_user(row: Mapping[str, Any], _: Mapping[str, Any], __: Understanding) -> Parsed:
    """A user as `im.*` shows one: lower-case keys, real booleans."""
    number = whole(row.get("id"))
    if number is None:
        raise RejectError("record.no_id", "a user without an id")
    return Parsed(
        {
            "id": number,
            "name": text_or_none(row.get("name")),
            "first_name": text_or_none(row.get("first_name")),
            "last_name": text_or_none(row.get("last_name")),
            "email": text_or_none(row.get("email")),
            "active": _flag(row.get("active")),
            "bot": _flag(row.get("bot")),
            "external": _flag(row.get("extranet")),
            "work_position": text_or_none(row.get("work_position")),
            "departments": wholes(row.get("departments")),
        }
    )


def _flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"Y": True, "N": False}.get(value) if isinstance(value, str) else None


def _listing(_: int) -> Sequence[tuple[str, Walk]]:
    return [("listing", KeysetWalk("user.get", {"sort": "ID", "order": "ASC", "ADMIN_MODE": True}))]


def _row(row: Mapping[str, Any], webhook: int) -> tuple[int, View] | None:
    number = whole(row.get("ID"))
    return None if number is None else (number, View(webhook, str(number)))


def _traits(_: Mapping[str, Any], __: int) -> Mapping[str, Any]:
    return {}


def _ask_for(ids: Sequence[int], label: str) -> Command:
    return Command(label, "im.user.list.get", {"ID": list(ids)}, entity="users")


def _answered(result: Any) -> Iterable[Mapping[str, Any]]:
    return [map_of(row) for row in rows_of(result) if map_of(row)]


STRANGERS = Strangers(entity="users", method="im.user.list.get", command=_ask_for, rows=_answered, parse=parse_im_user)


def _nobody(_: Payload) -> Iterable[int]:
    return ()


USERS = Entity(
    name="users",
    family="users",
    model=User,
    key_prefix="source:user:",
    batch_size=50,
    user_ids=_nobody,
    content=("name", "email", "active", "bot", "external"),
)

USERS_FAMILY = Family(
    name="users",
    scope="user",
    entities=(USERS,),
    reading=Reading(
        methods=("user.get",),
        listings=_listing,
        row=_row,
        traits=_traits,
        every_webhook=False,
        parse_root=parse_user,
        strangers=STRANGERS,
    ),
)
