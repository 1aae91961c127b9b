"""A target ten times as slow that also asks for fewer calls: memory stays, nobody leaves the group, nobody hurries.
Two importers share the work, and what one of them is asked holds for the other."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from tests.chaos.frame import Chaos, Passed, Site, chaos_project
from tests.chaos.groups import generations, members
from tests.chaos.processes import Replicas
from tests.chaos.proof import prove
from tests.chaos.slow_proxy import Slowness, SlowTarget

NAME = "slow-target"
_GROWTH_MIB, _END_S = 50.0, 300.0
_SERVICES = ("importer", "extractor", "verifier")
_SECOND, _JOINS_S = "importer-1", 60.0
_SENT = re.compile(r"^records_import_ok_total\{[^}]*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Scale:
    """`slow_s`: how long it is slow."""

    messages: int
    chats: int
    slow_s: float
    slowness: Slowness


SHORT = Scale(3_000, 40, 12.0, Slowness(times=10, least_s=0.3, batches_per_s=1.0, retry_after_s=3))
LONG = Scale(60_000, 300, 180.0, Slowness(times=10, least_s=0.3, batches_per_s=1.5, retry_after_s=3))


def disturb(root: Path, seed: int, scale: Scale) -> Passed:
    """Raises AssertionError with the promise that was broken."""
    with SlowTarget(root) as slow:
        site = Site("slow", seed, scale.chats, scale.messages, settings=slow.settings)
        with chaos_project(root, site) as chaos, Replicas(chaos.folder, "importer") as replicas:
            replicas.join()
            group = f"{chaos.project.name}.importer"
            chaos.until(lambda: members(chaos.project.kafka, group) == 2, "two importers share the work", _JOINS_S)
            run = chaos.in_mid_run()
            before, memory = generations(chaos.project.kafka, group), _memory(chaos, replicas)
            sent = {name: _sent(chaos, name) for name in ("importer", _SECOND)}
            imported, slow.slowness = chaos.imported(), scale.slowness
            highest = _watch(chaos, replicas, scale.slow_s)
            chaos.until(lambda: chaos.imported() > imported, "an import while the target is slow")
            moved = chaos.imported() - imported
            assert chaos.under_way(run), "the run was over before the target was slow for long enough"
            idle = [name for name, count in sent.items() if _sent(chaos, name) <= count]
            assert idle == [], f"{idle} sent nothing: nobody could have hurried"
            slow.slowness = None
            messages = prove(chaos, chaos.finish(run, _END_S))
            after = generations(chaos.project.kafka, group)
            assert replicas.leave(1) == 0
            assert chaos.database.chat_messages.count_documents({"attempts": {"$gt": 0}}) == 0, "a record was blamed"
    growth = {name: highest[name] - memory[name] for name in highest}
    assert after == before, f"rebalances: {before} became {after}"
    assert max(growth.values()) <= _GROWTH_MIB, f"memory grew: {growth}"
    assert slow.seen.refused > 0, "nobody was asked to wait"
    assert slow.seen.early == 0, f"{slow.seen.early} batches came earlier than they were asked to"
    figures = {
        "slow": f"{scale.slow_s:.0f}s",
        "messages": messages,
        "meanwhile": moved,
        "batches": slow.seen.taken,
        "refused": slow.seen.refused,
        "early": slow.seen.early,
        "rebalances": len(after) - len(before),
        **{f"growth-{name}": f"{size:.0f}MiB" for name, size in growth.items()},
    }
    return Passed(NAME, seed, figures)


def _watch(chaos: Chaos, replicas: Replicas, seconds: float) -> dict[str, float]:
    """The highest memory of each meanwhile."""
    end, highest = time.monotonic() + seconds, _memory(chaos, replicas)
    while time.monotonic() < end:
        time.sleep(0.5)
        highest = {name: max(size, highest[name]) for name, size in _memory(chaos, replicas).items()}
    return highest


def _memory(chaos: Chaos, replicas: Replicas) -> dict[str, float]:
    """Resident memory in MiB; each of them has to live."""
    processes = {name: chaos.processes.find(name) for name in _SERVICES}
    processes |= {_SECOND: psutil.Process(replicas.living[1].pid)}
    sizes = {}
    for name, process in processes.items():
        assert process is not None, f"{name} does not run"
        sizes[name] = process.memory_info().rss / 2**20
    return sizes


def _sent(chaos: Chaos, name: str) -> float:
    """Records that this importer has finished with, as it counts them."""
    url = (chaos.folder.addresses / f"{name}.url").read_text(encoding="utf-8").strip()
    text = httpx.get(f"{url}/metrics/", timeout=10).raise_for_status().text
    return sum(map(float, _SENT.findall(text)))
