"""What all tests share: one real stack a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chatferry.stack import Addresses, LocalStack

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def stack() -> Iterator[Addresses]:
    """A real Kafka, MongoDB and Redis: those named in the environment, else started for this session."""
    local = LocalStack(ROOT / ".local" / "test-stack", announce=lambda _line: None)
    addresses = local.up()
    yield addresses
    local.down()


@pytest.fixture(scope="session")
def stack_addresses(stack: Addresses) -> Addresses:
    """The same, by the name of what it is."""
    return stack
