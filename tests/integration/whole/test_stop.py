"""`chatferry stop` in the middle of a run, with everything running: the next `migrate` goes on where it stood."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from tests.integration.whole.running import Running, a_project, until
from tests.integration.whole.test_kills import in_mid_run

from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
_SLOW = {"CHATFERRY_BATCH_COMMANDS": "4", "CHATFERRY_PAGE_SIZE": "5", "CHATFERRY_LEASE_SECONDS": "4"}


@pytest.fixture
def project(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from a_project(tmp_path_factory.mktemp("stop"), stack, **_SLOW)


def test_a_run_stopped_in_the_middle_is_ended_for_who_waits_and_gone_on_with_by_the_next(project: Running) -> None:
    demo = project.start("demo", "--data", str(project.data), "--bucket", "off", "--keep", "--max-rate", "1")
    try:
        until(lambda: in_mid_run(project) or demo.poll() is not None, "the chats' run is under way", 90)
        said = project.run("stop")
        output, _ = demo.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        demo.kill()
        output, _ = demo.communicate()
        raise AssertionError(f"the demo does not end: {output[-2000:]}{project.logs()}") from None
    assert "stopped by the operator" in said
    assert demo.returncode == 1, f"{output[-3000:]}{project.logs()}"
    assert "chats: stopped: stopped by the operator" in output
    newest = project.status()["runs"][0]
    assert (newest["family"], newest["state"]) == ("chats", "stopped")
    read = {page["_id"] for page in project.database().page_log.find({"run": newest["run"]})}
    assert 0 < project.database().chat_messages.count_documents({}) < 240
    assert "no run is under way" in project.run("stop", code=2)

    project.run("migrate", "chats", "--no-users")
    state = project.status()
    assert (state["runs"][0]["run"], state["runs"][0]["state"]) == (newest["run"], "verified")
    assert read <= {page["_id"] for page in project.database().page_log.find({"run": newest["run"]})}
    project.assert_arrived()
    assert project.report()["ledger"]["chat_messages"] == {
        "read": 240,
        "done": 240,
        "skipped": {},
        "dead": 0,
        "waiting": 0,
    }
