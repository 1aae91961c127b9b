"""`user.get`: employees with filters and offset paging. Bots and service accounts are never in it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from chatferry.simulators.bitrix24 import jsontext
from chatferry.simulators.bitrix24.methods.call import Call, Method, Reply
from chatferry.simulators.bitrix24.model import User
from chatferry.simulators.bitrix24.params import Params, as_int, as_list, is_yes, upper_keys

PAGE = 50
SERVICE_KEYS = frozenset({"SORT", "ORDER", "FILTER", "ADMIN_MODE", "SELECT", "IMAGE_RESIZE", "START", "AUTH"})

_TIMESTAMPS: tuple[Any, ...] = ({}, "24.08.2023 13:19:39", "2024-08-29 10:30:11")
"""The three types this field was seen with."""


def methods() -> Mapping[str, Method]:
    return {
        "user.get": Method(_user_get, ("user", "user_basic", "user_brief")),
        "user.current": Method(_user_current, ("user", "user_basic", "user_brief")),
    }


def row(user: User) -> dict[str, Any]:
    """Every second user lacks the keys that are empty."""
    fields: dict[str, Any] = {
        "ID": str(user.id),
        "ACTIVE": user.active,
        "NAME": user.first_name,
        "LAST_NAME": user.last_name,
        "SECOND_NAME": "",
        "EMAIL": user.email,
        "LAST_LOGIN": user.registered_at if user.active else "",
        "DATE_REGISTER": user.registered_at,
        "TIME_ZONE": "",
        "IS_ONLINE": "Y" if user.active and user.id % 2 else "N",
        "TIMESTAMP_X": _TIMESTAMPS[(user.id - 1) % 3],
        "LAST_ACTIVITY_DATE": _TIMESTAMPS[(user.id - 1) // 3 % 3],
        "PERSONAL_GENDER": user.gender,
        "PERSONAL_WWW": "",
        "PERSONAL_BIRTHDAY": "",
        "PERSONAL_MOBILE": "",
        "PERSONAL_CITY": "",
        "WORK_PHONE": "",
        "WORK_POSITION": user.work_position,
        "UF_EMPLOYMENT_DATE": "",
        "UF_DEPARTMENT": [] if user.extranet else list(user.departments),
        "USER_TYPE": "extranet" if user.extranet else "employee",
    }
    if user.id % 2 == 0:
        for key in ("SECOND_NAME", "TIME_ZONE", "PERSONAL_WWW", "PERSONAL_MOBILE", "PERSONAL_CITY", "WORK_PHONE"):
            del fields[key]
    return fields


def _user_current(call: Call) -> Reply:
    return Reply(jsontext.dump(row(call.owner)))


def _user_get(call: Call) -> Reply:
    params = upper_keys(call.params)
    rows = sorted_rows(filtered(visible(call, params), _conditions(params)), params)
    start = as_int(call.params.get("start"), 0) or 0
    total: int | None = len(rows) or None
    if start < 0:
        return Reply(jsontext.dump(rows[:PAGE]), total=0 if rows else None)
    page = rows[start : start + PAGE]
    following = start + PAGE if start + PAGE < len(rows) else None
    return Reply(jsontext.dump(page), next=following, total=total)


def visible(call: Call, params: Params) -> list[dict[str, Any]]:
    """Extranet users come only to an administrator who asks for them with ADMIN_MODE."""
    all_kinds = is_yes(params.get("ADMIN_MODE")) and call.owner.admin
    users = call.portal.users.values()
    return [row(user) for user in users if user.listed and not user.bot and (all_kinds or not user.extranet)]


def _conditions(params: Params) -> list[tuple[str, Any]]:
    """From FILTER, and from fields given beside it, as `ID=5`."""
    given = params.get("FILTER")
    inside = list(given.items()) if isinstance(given, dict) else []
    return inside + [(key, value) for key, value in params.items() if key not in SERVICE_KEYS]


def filtered(rows: Iterable[dict[str, Any]], conditions: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Unknown fields are ignored, as the portal does."""
    kept = list(rows)
    for key, wanted in conditions:
        prefix, name = split_prefix(key)
        test = _test(prefix, name, wanted)
        if test is not None:
            kept = [fields for fields in kept if test(fields)]
    return kept


def split_prefix(key: str) -> tuple[str, str]:
    """`>=ID` to `>=` and `ID`."""
    name = key.lstrip("<>=!%@")
    return key[: len(key) - len(name)], name.upper()


Test = Callable[[dict[str, Any]], bool]


def _test(prefix: str, name: str, wanted: Any) -> Test | None:
    if name == "NAME_SEARCH":
        return lambda fields: str(wanted).lower() in f"{fields['NAME']} {fields['LAST_NAME']}".lower()
    if name == "ACTIVE":
        yes = is_yes(wanted)
        return lambda fields: (fields["ACTIVE"] is yes) is not prefix.startswith("!")
    if name == "UF_DEPARTMENT":
        departments = {as_int(value) for value in as_list(wanted)}
        return lambda fields: bool(departments & set(fields["UF_DEPARTMENT"])) is not prefix.startswith("!")
    if name not in {"ID", "NAME", "LAST_NAME", "EMAIL", "WORK_POSITION", "USER_TYPE", "IS_ONLINE", "DATE_REGISTER"}:
        return None
    return _compare(prefix, name, wanted)


def _compare(prefix: str, name: str, wanted: Any) -> Test:
    values = [_value(name, item) for item in as_list(wanted)]
    first = values[0] if values else _value(name, "")
    negated = prefix.startswith("!")
    if prefix.startswith(("<", ">")):
        low, equal = prefix.startswith("<"), prefix.endswith("=")

        def between(fields: dict[str, Any]) -> bool:
            value = _value(name, fields[name])
            return (equal and value == first) or (value < first if low else value > first)

        return between
    if "%" in prefix:
        part = str(wanted).strip("%").lower()
        return lambda fields: (part in str(fields[name]).lower()) is not negated
    return lambda fields: (_value(name, fields[name]) in values) is not negated


def _value(name: str, value: Any) -> tuple[int, str]:
    """Comparable with every other value of the field; ids compare as numbers."""
    if name == "ID":
        return as_int(value, 0) or 0, ""
    return 0, str(value).lower()


def sorted_rows(rows: list[dict[str, Any]], params: Params) -> list[dict[str, Any]]:
    """By ID unless another known field is asked for."""
    name = str(params.get("SORT", "ID")).upper()
    down = str(params.get("ORDER", "ASC")).upper() == "DESC"
    return sorted(rows, key=lambda fields: _value(name, fields.get(name, fields["ID"])), reverse=down)
