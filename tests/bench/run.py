"""`make bench`: the numbers that chatferry promises, as a table. Ratios compare within one run; machines are noisy."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from tests.bench import consume, limits  # noqa: E402
from tests.bench.measured import SERVICES, measured_project  # noqa: E402

from chatferry.operator.launch import SimulatedPortal  # noqa: E402
from chatferry.operator.runs import Options  # noqa: E402
from chatferry.stack import LocalStack  # noqa: E402

LOCAL = ROOT / ".local" / "bench"
_TWO_CORES = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One number. `floor`: what must be reached, `at_most`: whether less is better."""

    what: str
    value: float
    unit: str
    floor: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool:
        if self.floor is None:
            return True
        return self.value <= self.floor if self.at_most else self.value >= self.floor


def end_to_end(messages: int) -> tuple[list[Row], dict[str, float]]:
    """From `migrate` to verified, then once more without changes. Rows, and the peak memory of each process in MiB."""
    chats = max(50, messages // 400)
    portal = SimulatedPortal(None, 11, users=200, chats=chats, messages=messages, bucket="off")
    with measured_project(LOCAL, portal) as project:
        project.migrate("users", Options())
        project.begin()
        first = _proved(project.migrate("chats", Options()))
        usage = project.usage()
        second = _proved(project.migrate("chats", Options()))
        peak = project.usage().peak_mib
    seconds = _seconds(first)
    rows = [Row("end to end", messages / seconds, "messages/s", 3_000)]
    rows += [Row(f"CPU of {name}", cpu / messages * 1e6, "us/message") for name, cpu in usage.cpu_s.items()]
    rows.append(Row("CPU of all", sum(usage.cpu_s.values()) / messages * 1e6, "us/message"))
    rows += _verification(first, seconds, usage.cpu_s)
    rows.append(Row("a second, unchanged run", _seconds(second) / seconds, "of the first"))
    return rows, peak


def _verification(run: dict[str, Any], seconds: float, cpu_s: dict[str, float]) -> list[Row]:
    verify = run["timings"]["verify"]
    after_set = (verify["finished_at"] - run["timings"]["set"]["finished_at"]).total_seconds()
    share = cpu_s["verifier"] / max(sum(cpu_s.values()), 1e-9)
    return [
        Row("verification after the end of Set", after_set / seconds, "of the run", 0.30, at_most=True),
        Row("verifier's part of all CPU", share, "of the run", 0.30, at_most=True),
    ]


def _proved(run: dict[str, Any]) -> dict[str, Any]:
    if run["state"] != "verified":
        raise SystemExit(f"run {run['_id']} ended {run['state']}: {run.get('reason') or run['report']['reasons']}")
    return run


def _seconds(run: dict[str, Any]) -> float:
    return float((run["finished_at"] - run["requested_at"]).total_seconds())


def memory(small: dict[str, float], large: dict[str, float]) -> list[Row]:
    """Peak memory of each service at both sizes."""
    rows = []
    for name in SERVICES:
        rows.append(Row(f"peak memory of {name}", large[name], "MiB", 200, at_most=True))
        rows.append(Row(f"growth of {name}", large[name] / small[name] - 1, "of the smaller", 0.10, at_most=True))
    return rows


def limited(seconds: float) -> list[Row]:
    """Reading within the portal's limits, and an ordinary client beside it."""
    ours, other = limits.get_alone(LOCAL, seconds), limits.fast_bitrix24(20)
    return [
        Row("limit answers", ours["limit_answers"], "answers", 0, at_most=True),
        Row("permitted requests used", ours["share"], "of the permitted", 0.95),
        Row("useful commands of a batch", ours["useful_per_batch"], "of 50", 45),
        Row("fast_bitrix24: limit answers in 20 s", other["limit_answers"], "answers"),
        Row("fast_bitrix24: permitted requests used", other["share"], "of the permitted"),
    ]


def consumed(records: int) -> list[Row]:
    """The consume path beside a bare loop."""
    stack = LocalStack(LOCAL, announce=lambda _: None)
    try:
        found = consume.ratio(stack.up().kafka, records)
    finally:
        stack.down()
    return [
        Row("bare aiokafka loop", found["bare_per_s"], "records/s"),
        Row("consume path", found["ours_per_s"], "records/s"),
        Row("consume path to bare loop", found["ratio"], "ratio", 0.5),
    ]


def main(
    part: str = typer.Argument("all", help="all, limits, speed, memory or consume"),
    messages: int = 100_000,
    seconds: float = 120,
) -> None:
    """Measure and print; exit code 1 when a floor is missed."""
    if (os.cpu_count() or 0) > _TWO_CORES:
        os.sched_setaffinity(0, set(range(_TWO_CORES)))
    rows: list[Row] = []
    if part in ("all", "consume"):
        rows += consumed(300_000)
    if part in ("all", "limits"):
        rows += limited(seconds)
    if part in ("all", "speed"):
        rows += end_to_end(messages)[0]
    if part in ("all", "memory"):
        rows += memory(end_to_end(50_000)[1], end_to_end(500_000)[1])
    _print(rows)
    LOCAL.mkdir(parents=True, exist_ok=True)
    found = [{"what": row.what, "value": row.value, "unit": row.unit, "met": row.met} for row in rows]
    (LOCAL / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if not all(row.met for row in rows):
        raise typer.Exit(1)


def _print(rows: list[Row]) -> None:
    table = Table("what", "value", "unit", "floor", "", box=None)
    for row in rows:
        floor = "" if row.floor is None else f"{'at most' if row.at_most else 'at least'} {row.floor:,g}"
        verdict = "" if row.floor is None else ("[green]met[/]" if row.met else "[bold red]missed[/]")
        table.add_row(
            row.what, f"{row.value:,.3g}" if row.value < 100 else f"{row.value:,.0f}", row.unit, floor, verdict
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
