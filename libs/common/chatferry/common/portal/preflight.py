"""What must hold at the portal before a family is read, check by check (design §3.2; reference: bitrix24.md §4)."""

from __future__ import annotations

from dataclasses import dataclass

from chatferry.common.contracts.times import ImpossibleDateError, offset_of
from chatferry.common.entities import Family
from chatferry.common.entities.reading import map_of
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
    try:
        offset = await _offset(client)
        for webhook in client.webhooks:
            wrong = await _webhook_problem(client, webhook, family)
            if wrong is not None:
                return PortalView((Check(name, False, wrong),), offset, None)
        method = await _method(client, family)
    except (BlockedError, OutageError) as failure:
        return PortalView((Check(name, False, failure.sentence),), "+00:00", None)
    owners = ", ".join(str(webhook) for webhook in client.webhooks)
    detail = f"{client.host} answers; the webhooks of user {owners} are alive and have scope {family.scope}"
    return PortalView((Check(name, True, detail),), offset, method)


async def _offset(client: PortalClient) -> str:
    answer = await client.call(next(iter(client.webhooks)), "server.time")
    try:
        return offset_of(str(answer.result))
    except ImpossibleDateError:
        return "+00:00"


async def _webhook_problem(client: PortalClient, webhook: int, family: Family) -> str | None:
    who = f"the webhook of user {webhook} at {client.host}"
    profile = await client.call(webhook, "profile")
    if profile.refusal is not None or not map_of(profile.result):
        return f"{who} belongs to a user who is not active; give a webhook of an active employee"
    scopes = scopes_of(await client.call(webhook, "scope"))
    if family.scope not in scopes:
        return f"{who} lacks the scope {family.scope}; edit the webhook in the portal and add it"
    for method in family.reading.methods:
        known = map_of((await client.call(webhook, "method.get", {"name": method.lower()})).result)
        if not known.get("isExisting"):
            return f"{client.host} has no method {method}, which reading {family.name} needs; update the portal"
        if not known.get("isAvailable"):
            return f"{who} may not call {method}; edit the webhook in the portal and add its scope"
    return None


async def _method(client: PortalClient, family: Family) -> str | None:
    if family.reading.planned is None:
        return None
    planned, real = family.reading.planned
    answer = await client.call(next(iter(client.webhooks)), "method.get", {"name": planned.lower()})
    return planned if map_of(answer.result).get("isAvailable") else real
