"""What all tests share: one real stack a session."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatferry.stack import Addresses, LocalStack

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def stack() -> Iterator[Addresses]:
    """A real Kafka, MongoDB and Redis: those named in the environment, else started for this session.

    Sessions that run at the same time share them; the last one to end stops them.
    """
    root = ROOT / ".local" / "test-stack"
    root.mkdir(parents=True, exist_ok=True)
    local = LocalStack(root, announce=lambda _line: None)
    with (root / "sessions").open("a") as sessions:
        fcntl.flock(sessions, fcntl.LOCK_SH)
        yield local.up()
        try:
            fcntl.flock(sessions, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        local.down()


@pytest.fixture(scope="session")
def stack_addresses(stack: Addresses) -> Addresses:
    """The same, by the name of what it is."""
    return stack
