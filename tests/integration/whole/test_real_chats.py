"""Chats that people wrote, through the whole chain: verified, and at the target as the folder has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.simulators.bitrix24.helpers import shared_folder
from tests.integration.whole.running import Running

from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
MESSAGES = 621


@pytest.fixture
def project(stack: Addresses, tmp_path: Path) -> Iterator[Running]:
    data = shared_folder() / "data" / "radio-t-samples"
    if not data.is_dir():
        pytest.skip(f"there is no folder of real chats {data}")
    running = Running(tmp_path / "local", data, stack)
    try:
        yield running
    finally:
        running.down()


def test_real_chats_end_verified_and_arrive_as_they_were_written(project: Running) -> None:
    project.demo()
    report = project.report()
    assert report["verified"] is True
    done = {"read": MESSAGES, "done": MESSAGES, "skipped": {}, "dead": 0, "waiting": 0}
    assert report["ledger"]["chat_messages"] == done
    project.assert_arrived()
