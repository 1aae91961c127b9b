"""A project with records of every end, at rest, for the tests of a module that tamper with it and undo it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.integration.whole.ledger_world import Stopped, with_every_end
from tests.integration.whole.running import a_project

from chatferry.stack import Addresses


@pytest.fixture(scope="module")
def stopped(stack: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stopped]:
    folder = tmp_path_factory.mktemp("ends")
    for project in a_project(folder, stack):
        yield from with_every_end(project, folder / "status.json")
