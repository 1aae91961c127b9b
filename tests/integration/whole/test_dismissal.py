"""A bot that the list of users lacks, dismissed after it was moved: the next `migrate users` takes it to the target."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.integration.whole.running import Running, a_project

from chatferry.stack import Addresses

pytestmark = pytest.mark.integration
BOT = 13


@pytest.fixture
def project(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from a_project(tmp_path_factory.mktemp("dismissal"), stack)


def test_a_stranger_dismissed_later_arrives_dismissed_and_is_verified(project: Running) -> None:
    def bot() -> tuple[bool, int]:
        found = next(item for item in project.listed("users") if item["data"]["id"] == BOT)
        return found["data"]["active"], found["version"]

    project.demo()
    active, version = bot()
    assert active is True
    project.control().change("dismiss", user_id=BOT)
    assert "users: verified" in project.run("migrate", "users")
    active, newer = bot()
    assert (active, newer > version) == (False, True)
    assert project.report("users")["ledger"]["users"]["waiting"] == 0
    assert "nothing was moved" in project.run("migrate", "users")
