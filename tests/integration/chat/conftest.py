"""The shipped target on a real MongoDB, and the database behind it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.contract.chat.target_process import Speaker, TargetProcess, running_target

from chatferry.common.adapters.mongo import Database, open_client, open_database
from chatferry.stack import Addresses


@pytest.fixture(scope="module")
def project() -> str:
    """A project nobody else has."""
    return f"i{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def target(stack_addresses: Addresses, project: str, folder: Path) -> Iterator[TargetProcess]:
    with running_target(folder, stack_addresses.mongodb, project) as running:
        yield running


@pytest.fixture
def chats(target: TargetProcess) -> Iterator[Speaker]:
    speaker = Speaker(target.url)
    yield speaker
    speaker.close()


@pytest.fixture
async def database(stack_addresses: Addresses, project: str) -> AsyncIterator[Database]:
    """The target's database, for looking behind it."""
    client = open_client(stack_addresses.mongodb)
    yield open_database(client, f"chatferry_chat_{project}")
    client.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chat")
