"""What must hold at the portal before a family is read, check by check (design §3.2; reference: bitrix24.md §4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chatferry.common.contracts.times import ImpossibleDateError, offset_of
from chatferry.common.entities import Family
from chatferry.common.entities.reading import Answer, Command, map_of
from chatferry.common.errors import BlockedError, OutageError
from chatferry.common.portal.client import PortalClient, scopes_of


@dataclass(frozen=True, slots=True)
class Check:
    """One prerequisite by its name. `detail`: a sentence; when it failed, also what to do."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class PortalView:
    """What the checks learned: the portal's offset, and which of the planned methods reads the children."""

    checks: tuple[Check, ...]
    offset: str
    method: str | None


async def portal_checks(client: PortalClient, family: Family) -> PortalView:
    """`auth.cloud.<family>`, for every webhook. Never raises for a wrong webhook or a portal that is away."""
    name = f"auth.cloud.{family.name}"
    offset, method = "+00:00", None
    try:
        for webhook in client.webhooks:
            told = await _ask(client, webhook, family)
            wrong = _problem(f"the webhook of user {webhook} at {client.host}", client.host, told, family)
            if wrong is not None:
                return PortalView((Check(name, False, wrong),), offset, None)
            offset, method = _offset(told), _method(told, family)
    except (BlockedError, OutageError) as failure:
        return PortalView((Check(name, False, failure.sentence),), offset, None)
    owners = ", ".join(str(webhook) for webhook in client.webhooks)
    detail = f"{client.host} answers; the webhooks of user {owners} are alive and have scope {family.scope}"
    return PortalView((Check(name, True, detail),), offset, method)


async def _ask(client: PortalClient, webhook: int, family: Family) -> Mapping[str, Answer]:
    """Everything in one request: checks, too, are counted by the portal's limits."""
    methods = dict.fromkeys((*family.reading.methods, *(family.reading.planned or ())))
    commands = [Command("profile", "profile", {}), Command("scope", "scope", {}), Command("time", "server.time", {})]
    commands += [Command(f"m_{method}", "method.get", {"name": method.lower()}) for method in methods]
    commands = [Command(_label(command.label), command.method, command.params) for command in commands]
    return dict(zip((command.label for command in commands), await client.insist(webhook, commands), strict=True))


def _label(name: str) -> str:
    return name.replace(".", "_")


def _problem(who: str, host: str, told: Mapping[str, Answer], family: Family) -> str | None:
    if any(told[label].refusal is not None for label in ("profile", "scope", "time")):
        return f"{who} is refused even the simplest calls; look at it in the portal"
    if not map_of(told["profile"].result):
        return f"{who} belongs to a user who is not active; give a webhook of an active employee"
    if family.scope not in scopes_of(told["scope"]):
        return f"{who} lacks the scope {family.scope}; edit the webhook in the portal and add it"
    for method in family.reading.methods:
        answer = told[_label(f"m_{method}")]
        if answer.refusal is not None and answer.refusal.transient:
            return f"{host} does not say whether it has the method {method}; ask again later"
        known = map_of(answer.result)
        if not known.get("isExisting"):
            return f"{host} has no method {method}, which reading {family.name} needs; update the portal"
        if not known.get("isAvailable"):
            return f"{who} may not call {method}; edit the webhook in the portal and add its scope"
    return None


def _offset(told: Mapping[str, Answer]) -> str:
    try:
        return offset_of(str(told["time"].result))
    except ImpossibleDateError:
        return "+00:00"


def _method(told: Mapping[str, Answer], family: Family) -> str | None:
    if family.reading.planned is None:
        return None
    planned, real = family.reading.planned
    return planned if map_of(told[_label(f"m_{planned}")].result).get("isAvailable") else real
