"""Migrating from the command line: ask, follow, write the report, say how it ended."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from chatferry.common.adapters.mongo import mongo_outage
from chatferry.common.documents import ENTITY_STATES
from chatferry.common.entities import ENTITIES, FAMILIES
from chatferry.common.report import gap_line, report_html, report_json
from chatferry.operator.folder import Folder, write_atomically
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
                    return False
        return await self._one(wanted.name, options)

    async def _one(self, family: str, options: Options) -> bool:
        run = await self._store.ask(family, options)
        follower = Follower(self._store, self._console, self._failure)
        document = await follower.follow(run, FAMILIES[family])
        report = await self._store.report(run)
        if report is not None:
            self._write(family, report)
        return self._conclude(document, report, options)

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

    def _conclude(self, run: dict[str, Any], report: dict[str, Any] | None, options: Options) -> bool:
        state = run.get("state")
        # What a person, a part or the target wrote may look like markup.
        say = partial(self._console.print, highlight=False, soft_wrap=True, markup=False)
        if state in ("blocked", "failed", "stopped"):
            say(Text.assemble((f"{run['family']}: {state}", "bold red"), f": {run.get('reason')}"))
            return False
        if options.republish is not None:
            say(f"{options.republish}: {run.get('published', 0)} records were sent again")
            return True
        if "get" in options.phases and not run.get("published"):
            say(f"{run['family']}: nothing has changed at the portal since the last run; nothing was moved")
        if report is None:
            waiting = sum(one.get("waiting", 0) for one in (run.get("counts") or {}).values())
            say(f"{run['family']}: {', '.join(options.phases)} done ({waiting} records wait); nothing was verified")
            return "verify" not in options.phases and ("set" not in options.phases or waiting == 0)
        if report["verified"]:
            say(Text.assemble((f"{run['family']}: verified", "bold green"), f" in {report['seconds']:.1f} s"))
        else:
            say(Text(f"{run['family']}: not verified", "bold red"))
            for reason in report["reasons"]:
                say(f"  - {reason}")
        for gap in report["gaps"][:_GAPS_SHOWN]:
            say(f"  gap: {gap_line(gap)}")
        if len(report["gaps"]) > _GAPS_SHOWN:
            say(f"  and {len(report['gaps']) - _GAPS_SHOWN} more gaps: see the report")
        say(f"  report: {self.report_files(run['family'])[1]}")
        return bool(report["verified"])

    async def republish(self, entity: str) -> bool:
        """Send every record of an entity again that was sent. True when all were."""
        return await self._one(ENTITIES[entity].family, Options((), anew=True, republish=entity))

    async def entity_states(self) -> list[dict[str, Any]]:
        """What `entities` holds of each family."""
        with mongo_outage():
            found = self._store.database[ENTITY_STATES].find({"_id": {"$in": list(FAMILIES)}})
            return [doc async for doc in found]
