"""SIGKILL in the middle of a run: what the supervisor starts again ends verified, with nothing lost or doubled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from tests.integration.whole.running import Running, a_project, until

from chatferry.stack import Addresses

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
_SLOW = {"CHATFERRY_BATCH_COMMANDS": "6", "CHATFERRY_PAGE_SIZE": "10", "CHATFERRY_LEASE_SECONDS": "4"}


@pytest.fixture
def project(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from a_project(tmp_path_factory.mktemp("kills"), stack, **_SLOW)


def in_mid_run(project: Running) -> bool:
    """Messages are read, not all of them, and the run goes on."""
    if not (project.local / "project.json").exists():
        return False
    database = project.database()
    stored = database.chat_messages.estimated_document_count()
    running = database.runs.count_documents({"family": "chats", "state": "running"})
    return bool(0 < stored < 240 and running == 1)


def test_extractor_importer_and_target_killed_in_mid_run_end_verified(project: Running) -> None:
    demo = project.start("demo", "--data", str(project.data), "--bucket", "off", "--keep", "--max-rate", "3")
    try:
        until(lambda: in_mid_run(project) or demo.poll() is not None, "the chats' run is under way", 90)
        pids = {name: project.pid(name) for name in ("extractor", "importer", "chat")}
        for name in pids:
            assert in_mid_run(project), "the run was over before the kill"
            project.kill(name)
        output, _ = demo.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        demo.kill()
        output, _ = demo.communicate()
        raise AssertionError(f"the demo does not end: {output[-2000:]}{project.logs()}") from None
    assert demo.returncode == 0, f"{output[-3000:]}{project.logs()}"
    state = project.status()
    restarts = {one["name"]: one["restarts"] for one in state["processes"]}
    assert all(restarts[name] >= 1 for name in pids), restarts
    project.assert_arrived()
    report = project.report()
    assert report["verified"] is True
    assert report["ledger"]["chat_messages"] == {"read": 240, "done": 240, "skipped": {}, "dead": 0, "waiting": 0}
    assert (report["full"]["missing"], report["full"]["extra"], report["full"]["different"]) == (0, 0, 0)
    pages = list(project.database().page_log.find({"run": state["runs"][0]["run"]}))
    for chat in {page["parent"] for page in pages}:
        intervals = sorted((page["lo"], page["hi"]) for page in pages if page["parent"] == chat)
        assert [hi for _, hi in intervals[:-1]] == [lo for lo, _ in intervals[1:]]
