"""The import rules hold, each of them can fail, and none has a module that it overlooks."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.tree import ROOT, contracts, members

SERVICES = ("extractor", "importer", "verifier", "chat", "participants")
# Rooms at the edge: these may know an I/O library.
OUTER = {"__init__", "__main__", "__pycache__", "py", "app", "handlers", "adapters", "settings"}
OUTER_OF_ONE = {
    "chat": {"api", "openapi", "admission", "wire", "metrics", "watch", "refusals"},
    "participants": {
        "applying",
        "api",
        "openapi",
        "admission",
        "metrics",
        "describing",
        "lasting",
        "refusals",
        "shared",
        "webhook",
        "wire",
    },
}
# Contract by contract, an import that it forbids: file, module.
PLANTED = {
    "The services know nothing of each other": (
        "services/extractor/chatferry/extractor/domain/gaps.py",
        "chatferry.importer.domain",
    ),
    "No service imports the command, the stack or a simulator": (
        "services/chat/chatferry/chat/watch.py",
        "chatferry.stack",
    ),
    "What is common knows no service and no tool": (
        "libs/common/chatferry/common/clock.py",
        "chatferry.verifier.ports",
    ),
    "The stack and the simulators stand alone": (
        "libs/stack/chatferry/stack/errors.py",
        "chatferry.common.errors",
    ),
    "The command starts services and portals as processes and imports none": (
        "libs/operator/chatferry/operator/folder.py",
        "chatferry.chat.settings",
    ),
    "Common: contracts and errors below, the parts above": (
        "libs/common/chatferry/common/contracts/times.py",
        "chatferry.common.settings",
    ),
    "Extractor: app, handlers, flow, steps, ports, domain": (
        "services/extractor/chatferry/extractor/ports/records.py",
        "chatferry.extractor.flow",
    ),
    "Importer: app, handlers, flow, steps, ports, domain": (
        "services/importer/chatferry/importer/domain.py",
        "chatferry.importer.flow",
    ),
    "Verifier: app, handlers, flow, steps, ports, domain": (
        "services/verifier/chatferry/verifier/domain/lines.py",
        "chatferry.verifier.flow",
    ),
    "Target: app, api, handlers, flow, ports, domain": (
        "services/chat/chatferry/chat/domain/times.py",
        "chatferry.chat.flow",
    ),
    "Participants: app, handlers, flow, ports, domain": (
        "services/participants/chatferry/participants/domain/plan.py",
        "chatferry.participants.view",
    ),
    "Adapters know ports and the domain, and no story": (
        "services/verifier/chatferry/verifier/adapters/meter.py",
        "chatferry.verifier.flow",
    ),
    "Stories and rules import no I/O library": ("services/importer/chatferry/importer/gate.py", "httpx"),
    "One module imports the MongoDB driver (docs/adr/0003)": (
        "services/chat/chatferry/chat/adapters/ids.py",
        "pymongo",
    ),
    "FastStream is known to the streaming runtime alone (docs/adr/0002)": (
        "services/extractor/chatferry/extractor/handlers.py",
        "faststream",
    ),
    "Kafka's client is known to the streaming runtime and the bootstrap alone": (
        "services/importer/chatferry/importer/handlers.py",
        "aiokafka",
    ),
}
# The copy takes the place of the members that are installed.
_LINT = """
import sys
root, copy, members = sys.argv[1], sys.argv[2], sys.argv[3:]
sys.path[:] = [f"{copy}/{member}" for member in members] + [
    path for path in sys.path if not path.startswith((f"{root}/libs", f"{root}/services"))
]
from importlinter.cli import lint_imports
sys.exit(lint_imports(config_filename=f"{root}/pyproject.toml", no_cache=True))
"""


def _lint(tree: Path) -> tuple[int, dict[str, str]]:
    """Exit code, and what was said of each contract."""
    folders = [folder.relative_to(ROOT).as_posix() for folder in members().values()]
    done = subprocess.run(
        [sys.executable, "-c", _LINT, str(ROOT), str(tree), *folders],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tree,
        check=False,
    )
    verdicts = dict(re.findall(r"^(.+?) (KEPT|BROKEN)", done.stdout, re.MULTILINE))
    assert verdicts, done.stdout + done.stderr
    return done.returncode, verdicts


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for top in ("libs", "services"):
        shutil.copytree(ROOT / top, tmp_path / top, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_import_rule_is_kept() -> None:
    code, verdicts = _lint(ROOT)
    assert {name for name, verdict in verdicts.items() if verdict != "KEPT"} == set()
    assert code == 0
    assert set(verdicts) == {contract["name"] for contract in contracts()}


def test_every_import_rule_can_be_broken(copy: Path) -> None:
    for file, module in PLANTED.values():
        with (copy / file).open("a", encoding="utf-8") as source:
            source.write(f"\nimport {module}\n")
    code, verdicts = _lint(copy)
    assert {name for name, verdict in verdicts.items() if verdict == "BROKEN"} == set(PLANTED)
    assert code != 0
    assert set(PLANTED) == {contract["name"] for contract in contracts()}


def test_a_room_that_no_rule_names_is_noticed(copy: Path) -> None:
    (copy / "services/extractor/chatferry/extractor/shed.py").write_text('"""Nobody knows it."""\n', encoding="utf-8")
    _code, verdicts = _lint(copy)
    assert verdicts["Extractor: app, handlers, flow, steps, ports, domain"] == "BROKEN"


def test_every_room_of_a_service_is_a_story_or_an_edge() -> None:
    [stories] = [set(one["source_modules"]) for one in contracts() if one["name"].startswith("Stories")]
    overlooked = [
        f"{service}.{room.stem}"
        for service in SERVICES
        for room in (ROOT / "services" / service / "chatferry" / service).iterdir()
        if room.stem not in (OUTER | OUTER_OF_ONE.get(service, set()))
        and f"chatferry.{service}.{room.stem}" not in stories
    ]
    assert overlooked == []


def test_rules_about_libraries_hold_for_every_member() -> None:
    about = [one for one in contracts() if "ignore_imports" in one]
    assert len(about) == 3
    assert all(set(one["source_modules"]) == set(members()) for one in about)
