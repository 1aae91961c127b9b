"""Preflight: every prerequisite by name; one that is missing blocks the run before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatferry.common.entities import FAMILIES, Family
from chatferry.common.errors import BlockedError
from chatferry.common.portal.client import PortalClient
from chatferry.common.portal.preflight import Check, PortalView, portal_checks
from chatferry.extractor.ports import FamilyStates, RunDocument, Runs, Storage
from chatferry.extractor.steps.context import Drive

_LOOK_S, _TARGET_CHECK_S = 0.25, 30.0


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a run asks before it begins. `names`: the portal's host names, the one of now first.
    `cloud`: what the portal has answered; nothing where it was not asked."""

    family: Family
    drive: Drive
    runs: Runs
    families: FamilyStates
    storage: Storage
    names: Sequence[str]
    cloud: Sequence[Check]

    async def checks(self, run: RunDocument) -> list[Check]:
        """All answers, in the order in which a person mends them."""
        unasked = Check(
            f"auth.cloud.{self.family.name}", True, "not asked: nothing is read from the portal in this run"
        )
        cloud = self.cloud or [unasked]
        portal = [await self._one_portal(run)] if reads(run) else []
        checks = [*await self.storage.checks(self.family), *cloud, *portal, await self._target_check(run)]
        auth = [check for check in checks if check.name.startswith("auth.")]
        checks.append(Check("auth.done", all(check.ok for check in auth), "whoever this run asks lets us in"))
        if run["phases"]:
            checks += [await self._need(need, run) for need in self.family.needs]
        return checks

    async def _need(self, need: str, run: RunDocument) -> Check:
        """What is sent names records that must be at the target; what is only read, records that must be known."""
        state, first = await self.families.entity(need), f"run `chatferry migrate {need}` first"
        imported = bool(state.get("imported_run"))
        if {"set", "verify"} & set(run["phases"]):
            return Check(f"{need}.import.completed", imported, f"{need} were imported" if imported else first)
        listed = imported or bool((state.get("get") or {}).get("whole"))
        return Check(f"{need}.get.completed", listed, f"{need} were read" if listed else first)

    async def _one_portal(self, run: RunDocument) -> Check:
        """Keys do not name the portal: records of a second one would take the place of the first one's."""
        name, here = "project.portal", self.names[0]
        others = sorted((await self.runs.portals() | {run["portal"]}) - set(self.names))
        if not others:
            return Check(name, True, f"all that this project reads is of {here}")
        return Check(
            name,
            False,
            f"this project is of {', '.join(others)}, and the webhooks of its services are of {here}; another portal"
            " needs a folder (CHATFERRY_LOCAL), a project (CHATFERRY_PROJECT) and an empty target of its own; the same"
            " one, renamed, needs services that were started with its old name in CHATFERRY_PORTAL_FORMERLY",
        )

    async def _target_check(self, run: RunDocument) -> Check:
        """The importer answers this one: the extractor never talks to the target."""
        name, clock = f"auth.target.import.{self.family.name}", self.drive.clock
        if not {"set", "verify"} & set(run["phases"]):
            return Check(name, True, "not asked: nothing is sent to the target in this run")
        deadline = clock.monotonic() + _TARGET_CHECK_S
        while clock.monotonic() < deadline:
            self.drive.heed()
            answer = (await self.runs.get(self.drive.run)).get("target_check")
            if answer is not None:
                return Check(name, answer["ok"], answer["detail"])
            await clock.sleep(_LOOK_S)
        return Check(name, False, "no importer answered; start one (`chatferry up`) and ask again")


def reads(run: RunDocument) -> bool:
    """Whether the run has still to read the portal: what it reads nothing of may be closed, its webhooks revoked."""
    return "get" in run["phases"] and "finished_at" not in (run.get("timings") or {}).get("get", {})


async def ask_portal(client: PortalClient, run: RunDocument) -> PortalView | None:
    """What the portal says to a run that begins; None when it is not asked. Never raises for one that is away."""
    if run["state"] != "requested" or run.get("stop") or not reads(run):
        return None
    return await portal_checks(client, FAMILIES[run["family"]])


def missing(checks: Sequence[Check]) -> BlockedError | None:
    """The first answer that blocks the run."""
    first = next((check for check in checks if not check.ok), None)
    return None if first is None else BlockedError(f"{first.name}: {first.detail}", code=first.name)
