"""When a part of the stack is started again, and when it is given up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chatferry.operator import stack_keeper
from chatferry.operator.stack_keeper import StackKeeper
from chatferry.stack import PartStatus, StackError


@dataclass
class FakeStack:
    """Kafka, when it dies. Each start takes the next answer; a start that fails forgets the part, as the real one."""

    starts: list[str | None]
    dead: list[str] = field(default_factory=list)
    started_at: list[float] = field(default_factory=list)
    now: float = 0.0

    def gone(self) -> list[str]:
        return self.dead

    def up(self, *, timeout_s: float) -> None:
        assert timeout_s > 0
        self.started_at.append(self.now)
        self.dead = []
        if (failure := self.starts.pop(0) if self.starts else None) is not None:
            raise StackError(failure)

    def pids(self) -> dict[str, int | None]:
        return {"kafka": None if self.dead else 7}

    def status(self) -> list[PartStatus]:
        return [PartStatus("kafka", None, None, False, "Kafka has died; its log says: no space")]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> FakeStack:
    made = FakeStack([])
    monkeypatch.setattr(stack_keeper, "LocalStack", lambda *_, **__: made)
    return made


def look(keeper: StackKeeper, stack: FakeStack, seconds: float) -> None:
    """Look ten times a second for so long."""
    for _ in range(int(seconds * 10)):
        stack.now += 0.1
        keeper.look(stack.now)


def test_a_part_that_died_is_started_at_once_and_counted(stack: FakeStack, tmp_path: Path) -> None:
    keeper = StackKeeper(tmp_path)
    look(keeper, stack, 3)
    assert (keeper.restarts, keeper.pids) == ({}, {"kafka": 7})
    stack.dead = ["kafka"]
    look(keeper, stack, 3)
    assert (keeper.restarts, keeper.pids, keeper.failed) == ({"kafka": 1}, {"kafka": 7}, None)


def test_a_part_that_died_while_it_was_started_is_started_once_more(stack: FakeStack, tmp_path: Path) -> None:
    keeper = StackKeeper(tmp_path)
    stack.dead, stack.starts = ["kafka"], ["Kafka ended while it was starting", None]
    look(keeper, stack, 10)
    assert (keeper.restarts, keeper.failed) == ({"kafka": 1}, None)


def test_a_part_that_never_starts_is_given_up_with_its_last_words(stack: FakeStack, tmp_path: Path) -> None:
    keeper = StackKeeper(tmp_path)
    stack.dead, stack.starts = ["kafka"], ["the first", "the second", "the disk is full"]
    look(keeper, stack, 60)
    assert keeper.failed == "the disk is full"
    assert len(stack.started_at) == 3


def test_a_part_that_keeps_dying_waits_longer_each_time_and_is_given_up_with_its_log(
    stack: FakeStack, tmp_path: Path
) -> None:
    keeper = StackKeeper(tmp_path)
    for _ in range(600):
        stack.dead = ["kafka"]
        look(keeper, stack, 0.1)
    assert keeper.failed == "kafka cannot be kept running: Kafka has died; its log says: no space"
    pauses = [later - before for before, later in zip(stack.started_at, stack.started_at[1:], strict=False)]
    assert len(pauses) == 4
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 4


def test_deaths_with_calm_between_them_are_no_reason_to_give_up(stack: FakeStack, tmp_path: Path) -> None:
    keeper = StackKeeper(tmp_path)
    for _ in range(20):
        stack.dead = ["kafka"]
        look(keeper, stack, 40)
    assert keeper.failed is None
    assert keeper.restarts == {"kafka": 20}


def test_deaths_of_other_parts_do_not_count_against_one_that_is_calm_in_between(
    stack: FakeStack, tmp_path: Path
) -> None:
    keeper = StackKeeper(tmp_path)
    for _ in range(8):
        for name in ("kafka", "mongodb", "redis"):
            stack.dead = [name]
            look(keeper, stack, 16)
    assert keeper.failed is None
    assert keeper.restarts == {"kafka": 8, "mongodb": 8, "redis": 8}
