"""Containers killed, and frozen, in the middle of a run: it is verified, and no record is lost, doubled or blamed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from tests.containers.compose import ComposeStack, compose_stack

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(5_000)]
_VICTIMS = ("extractor", "importer", "verifier", "chat", "kafka", "mongodb", "redis")
_FROZEN, _FROZEN_S = ("chat", "mongodb"), 20.0
_IN_FLIGHT = 200
_RATE = "0.35"
_FIRST_S, _DEAD_S, _BACK_S, _END_S = 120.0, 20.0, 240.0, 900.0
_SEED = 7


@pytest.fixture
def compose(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ComposeStack]:
    if not request.config.getoption("--compose"):
        pytest.skip("needs a Docker engine; --compose runs it, make test-docker looks for one")
    with compose_stack(tmp_path) as stack:
        yield stack


def test_nothing_is_lost_or_doubled_by_containers_that_are_killed_or_frozen(compose: ComposeStack) -> None:
    users, _ = (run := compose.operator("migrate", "users")).communicate(timeout=_END_S)
    assert run.returncode == 0, users
    run = compose.operator("migrate", "chats", "--no-users", "--max-rate", _RATE)
    try:
        compose.until(lambda: compose.marks()[1] > 0, "the first messages arrive", _FIRST_S)
        waits = {f"killed-{name}": _killed(compose, name) for name in Random(_SEED).sample(_VICTIMS, len(_VICTIMS))}
        waits |= {f"frozen-{name}": _frozen(compose, name) for name in _FROZEN}
        said, _ = run.communicate(timeout=_END_S)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 0, f"{said}\n{compose.story()}"
    _assert_nobody_is_blamed(compose)
    compose.check_ledger()
    sys.stdout.write(" ".join(["PASS", *[f"{what}={seconds:.1f}s" for what, seconds in waits.items()]]) + "\n")


def _killed(compose: ComposeStack, name: str) -> float:
    """SIGKILL and a start: an engine does not start again what somebody told it to kill. Seconds until work goes on."""
    _assert_reading(compose, f"{name} is killed")
    container, earlier = compose.container(name), compose.marks()
    compose.docker("kill", "--signal", "KILL", container)
    compose.until(lambda: compose.state(name)["Status"] == "exited", f"{name} is dead", _DEAD_S)
    before = _furthest(earlier, compose.marks())
    compose.docker("start", container)
    return compose.until(lambda: _goes_on(compose, name, before), f"work goes on after the kill of {name}", _BACK_S)


def _frozen(compose: ComposeStack, name: str) -> float:
    """It takes connections and never answers. Seconds from its thaw until work goes on."""
    _assert_reading(compose, f"{name} is frozen")
    container, earlier = compose.container(name), compose.marks()
    compose.docker("pause", container)
    try:
        ends = time.monotonic() + _FROZEN_S
        compose.until(lambda: time.monotonic() > ends, "the end of the freeze", _FROZEN_S + 5)
        frozen = compose.marks()
    finally:
        compose.docker("unpause", container)
    if name == "chat":
        assert frozen[1] - earlier[1] <= _IN_FLIGHT, "a target that is frozen has taken messages"
    else:
        assert frozen == (-1, -1), "a MongoDB that is frozen has answered"
    before = _furthest(earlier, frozen)
    return compose.until(lambda: _goes_on(compose, name, before), f"work goes on after the thaw of {name}", _BACK_S)


def _furthest(*marks: tuple[int, int]) -> tuple[int, int]:
    """Of looks of which one may have seen nothing."""
    return max(pages for pages, _ in marks), max(messages for _, messages in marks)


def _goes_on(compose: ComposeStack, name: str, before: tuple[int, int]) -> bool:
    """The part is healthy again, the portal is read and messages arrive."""
    now = compose.marks()
    return now[0] > before[0] and now[1] > before[1] and compose.is_healthy(name)


def _assert_reading(compose: ComposeStack, when: str) -> None:
    run = compose.database.runs.find_one({"family": "chats"}, sort=[("requested_at", -1)])
    assert run is not None
    assert (run["state"], run["phase"]) == ("running", "get"), f"the reading was over before {when}"


def _assert_nobody_is_blamed(compose: ComposeStack) -> None:
    assert list(compose.database.dead_letters.find({}, {"raw": 0}, limit=5)) == []
    assert compose.database.parked.count_documents({}) == 0
    assert compose.database.chat_messages.count_documents({"attempts": {"$gt": 0}}) == 0, "a record was blamed"
    for entity in ("users", "chats", "chat_messages"):
        assert compose.database[entity].distinct("status") == ["IMPORT_OK"], entity
