"""Migrating from the command line: ask, follow, write the report, say how it ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from chatferry.common.adapters.mongo import mongo_outage
from chatferry.common.counts import Count
from chatferry.common.documents import ENTITY_STATES
from chatferry.common.entities import ENTITIES, FAMILIES
from chatferry.common.report import gap_line, report_html, report_json
from chatferry.operator.folder import Folder, write_atomically
from chatferry.operator.lacking import Lacking, lacking, moved
from chatferry.operator.processes import supervision
from chatferry.operator.progress import Follower
from chatferry.operator.runs import Options, Store, family_named

_GAPS_SHOWN = 20


class Migration:
    """One `chatferry migrate`."""

    def __init__(self, folder: Folder, store: Store, console: Console) -> None:
        self._folder, self._store, self._console = folder, store, console

    async def migrate(self, family: str, options: Options, *, with_needs: bool) -> bool:
        """Move a family, the ones it needs first. True when all that was asked for is proved."""
        wanted = family_named(family)
        if with_needs:
            # A test limit is for what was asked for: what it needs would never count as moved otherwise.
            for need in wanted.needs:
                if not await self._one(need, replace(options, test_limit=None)):
                    self._say(
                        f"{family}: not begun, because {need} did not end well; see to them first,"
                        f" or go on without: `chatferry migrate {family} --no-{need}`"
                    )
                    return False
        return await self._one(wanted.name, options)

    async def _one(self, family: str, options: Options) -> bool:
        before = await self._store.counts(FAMILIES[family], "")
        run = await self._store.ask(family, options)
        follower = Follower(self._store, self._console, self._failure)
        document = await follower.follow(run, FAMILIES[family])
        if document.get("state") in ("blocked", "stopped"):
            self._say(Text.assemble((f"{family}: {document['state']}", "bold red"), f": {document.get('reason')}"))
            return False
        if options.republish is not None:
            self._say(f"{options.republish}: {document.get('published', 0)} records were sent again")
            return True
        after = await self._store.counts(FAMILIES[family], "")
        if "get" in options.phases and not document.get("published"):
            self._tell_of_no_change(family, moved(before, after))
        report = await self._store.report(run)
        if report is not None:
            self._write(family, report)
            return self._conclude(family, report)
        left = await lacking(self._store.database, FAMILIES[family], after, delivered="set" in options.phases)
        return self._conclude_unverified(family, options, after, left)

    def _say(self, what: Text | str) -> None:
        """What a person, a part or the target wrote may look like markup."""
        self._console.print(what, highlight=False, soft_wrap=True, markup=False)

    def _tell_of_no_change(self, family: str, imported: int) -> None:
        what = "nothing was moved" if not imported else f"imported of what had waited: {imported}"
        self._say(f"{family}: nothing has changed at the portal since the last run; {what}")

    def _failure(self) -> str | None:
        failed = supervision(self._folder).get("failed")
        return str(failed) if failed else None

    def _write(self, family: str, report: dict[str, Any]) -> None:
        json_file, page = self.report_files(family)
        write_atomically(json_file, json.dumps(report_json(report), ensure_ascii=False, indent=1) + "\n")
        write_atomically(page, report_html(report))

    def report_files(self, family: str) -> tuple[Path, Path]:
        """Where a family's report is written."""
        return self._folder.report / f"{family}.json", self._folder.report / f"{family}.html"

    def _conclude(self, family: str, report: dict[str, Any]) -> bool:
        if report["verified"]:
            self._say(Text.assemble((f"{family}: verified", "bold green"), f" in {report['seconds']:.1f} s"))
        else:
            self._say(Text(f"{family}: not verified", "bold red"))
            for reason in report["reasons"]:
                self._say(f"  - {reason}")
        self._tell_gaps(report["gaps"], len(report["gaps"]), "see the report")
        self._say(f"  report: {self.report_files(family)[1]}")
        return bool(report["verified"])

    def _conclude_unverified(self, family: str, options: Options, counts: Sequence[Count], left: Lacking) -> bool:
        reasons, phases = list(left.reasons(family)), ", ".join(options.phases)
        waiting = sum(one.waiting for one in counts)
        wait = "" if left.waiting or not waiting else f" (waiting: {waiting})"
        self._say(f"{family}: {phases} done{', but not with everything' if reasons else wait}; nothing was verified")
        for reason in reasons:
            self._say(f"  - {reason}")
        self._tell_gaps(left.gaps, left.gaps_total, f"`chatferry verify {family}` lists them in its report")
        return not reasons and "verify" not in options.phases

    def _tell_gaps(self, gaps: Sequence[dict[str, Any]], total: int, where: str) -> None:
        for gap in gaps[:_GAPS_SHOWN]:
            self._say(f"  gap: {gap_line(gap)}")
        if total > _GAPS_SHOWN:
            self._say(f"  and {total - _GAPS_SHOWN} more gaps: {where}")

    async def republish(self, entity: str) -> bool:
        """Send every record of an entity again that was sent. True when all were."""
        return await self._one(ENTITIES[entity].family, Options((), anew=True, republish=entity))

    async def entity_states(self) -> list[dict[str, Any]]:
        """What `entities` holds of each family."""
        with mongo_outage():
            found = self._store.database[ENTITY_STATES].find({"_id": {"$in": list(FAMILIES)}})
            return [doc async for doc in found]
