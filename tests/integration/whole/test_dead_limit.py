"""Too many records die: delivery stops, the run says so, and an operator brings it to its end with two commands."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos.faulty_target import Faults, FaultyTarget
from tests.chaos.frame import Chaos, Site, project_on
from tests.chaos.in_turn import write_portal
from tests.chaos.letters import by_state
from tests.chaos.proof import assert_equal, assert_ledger_agrees, command

from chatferry.stack import Addresses

pytestmark = [
    pytest.mark.integration,
    # The supervisor outlives the call that starts it; it is ended by its pid.
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]
_CHATS, _EACH, _MOST = 6, 20, 15


@pytest.fixture
def target(tmp_path: Path) -> Iterator[FaultyTarget]:
    """Refuses every message until it is healed."""
    with FaultyTarget(tmp_path, Faults(1, 1.0, refused=True, entities=("chat_messages",))) as target:
        yield target


@pytest.fixture
def project(stack: Addresses, tmp_path: Path, target: FaultyTarget) -> Iterator[Chaos]:
    data = write_portal(tmp_path / "portal", 1, _CHATS, _EACH)
    settings = {**target.settings, "CHATFERRY_DEAD_CONSECUTIVE_MAX": str(_MOST)}
    with project_on(tmp_path, stack, Site(f"limit-{uuid.uuid4().hex[:8]}", 1, data=data, settings=settings)) as project:
        yield project


def test_a_run_that_the_limit_stopped_is_resumed_replayed_and_verified(project: Chaos, target: FaultyTarget) -> None:
    blocked = command(project, "migrate", "chats", code=1).stdout
    assert f"chats: blocked: more than {_MOST} records in a row cannot be imported" in blocked
    assert "most of them for target.INVALID_DATA" in blocked
    assert "`chatferry dlq resume chats`" in blocked
    # What follows the limit is left as it was: it neither died nor was skipped.
    assert by_state(project) == {"dead": _MOST}
    assert project.database.chat_messages.count_documents({"status": "NEW"}) == _CHATS * _EACH - _MOST
    assert project.imported() == 0
    assert "nothing of chats is delivered" in command(project, "dlq", "replay", "--all", code=2).stderr
    assert by_state(project) == {"dead": _MOST}

    target.heal()
    assert command(project, "dlq", "resume").stdout.startswith("chats: delivered again")
    assert f"{_MOST} arrived at the target" in command(project, "dlq", "replay", "--all").stdout
    assert "chats: verified" in command(project, "migrate", "chats", "--no-users").stdout
    assert by_state(project) == {"replayed": _MOST}
    assert project.database.parked.count_documents({}) == 0
    assert assert_equal(project) == _CHATS * _EACH
    assert_ledger_agrees(project)
