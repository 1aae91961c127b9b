"""When the supervisor starts a part of the stack again, and when it gives up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chatferry.operator import supervisor
from chatferry.operator.folder import Folder
from chatferry.operator.supervisor import Plan, Supervisor
from chatferry.stack import StackError


class _Stack:
    """Kafka has died once; each start takes the next answer. What did not start it forgets, as the real one."""

    def __init__(self, starts: list[str | None]) -> None:
        self.starts = iter(starts)
        self.dead = ["kafka"]

    def gone(self) -> list[str]:
        return self.dead

    def up(self) -> None:
        self.dead = []
        failure = next(self.starts)
        if failure is not None:
            raise StackError(failure)


@pytest.fixture
def moments() -> Iterator[float]:
    return iter(float(second) for second in range(10, 1000, 10))


def _watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: list[str | None]) -> Supervisor:
    stack = _Stack(starts)
    monkeypatch.setattr(supervisor, "LocalStack", lambda *_, **__: stack)
    return Supervisor(Plan(str(tmp_path), (), str(tmp_path)), Folder(tmp_path))


def test_a_part_that_died_while_it_was_started_is_started_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moments: Iterator[float]
) -> None:
    watching = _watching(tmp_path, monkeypatch, ["Kafka ended while it was starting", None])
    for _ in range(4):
        watching._look_at_stack(next(moments))
    assert watching.failed is None
    assert watching.stack_restarts == {"kafka": 1}


def test_a_part_that_never_starts_ends_the_supervision_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moments: Iterator[float]
) -> None:
    watching = _watching(tmp_path, monkeypatch, ["the first", "the second", "the disk is full"])
    for _ in range(3):
        assert watching.failed is None
        watching._look_at_stack(next(moments))
    assert watching.failed == "the disk is full"
