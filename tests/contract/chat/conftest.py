"""The server under contract: CHATFERRY_TARGET_URL (any server's `…/rest/{user}/{secret}`), else the one we ship."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator

import pytest
from tests.contract.chat.target_process import Speaker, running_target


@pytest.fixture(scope="session")
def target_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    given = os.environ.get("CHATFERRY_TARGET_URL")
    if given:
        yield given
        return
    stack = request.getfixturevalue("stack_addresses")
    with running_target(tmp_path_factory.mktemp("target"), stack.mongodb, f"c{secrets.token_hex(4)}") as target:
        yield target.url


@pytest.fixture
def chats(target_url: str) -> Iterator[Speaker]:
    speaker = Speaker(target_url)
    yield speaker
    speaker.close()


@pytest.fixture
def users(target_url: str) -> Iterator[Speaker]:
    speaker = Speaker(target_url, "users")
    yield speaker
    speaker.close()


@pytest.fixture(scope="session")
def _first_number() -> int:
    return int(time.time() * 1000) * 1000


@pytest.fixture
def number(_first_number: int, _numbers: Iterator[int]) -> int:
    """A source id that no test before used, on a server that keeps everything; the 1,000 after it are free too."""
    return _first_number + next(_numbers) * 1000


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return iter(range(1, 1000))
