import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from chatferry.stack import LocalStack, PartStatus

MakeStack = Callable[..., LocalStack]


def own_environment(**more: str) -> dict[str, str]:
    """This process's environment without the addresses that somebody may have put there."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CHATFERRY_")} | more


def pids(stack: LocalStack) -> dict[str, int | None]:
    return {part.name: part.pid for part in stack.status()}


def of(stack: LocalStack, name: str) -> PartStatus:
    return next(part for part in stack.status() if part.name == name)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name is hard on the servers: a space and letters beyond ASCII."""
    return tmp_path_factory.mktemp("stack") / "a портал"


@pytest.fixture(scope="session")
def said() -> list[str]:
    return []


@pytest.fixture(scope="session")
def stack(root: Path, said: list[str]) -> Iterator[LocalStack]:
    """One stack for all tests of this folder; each leaves it running."""
    stack = LocalStack(root, announce=said.append, environment=own_environment())
    stack.up()
    yield stack
    stack.down()


@pytest.fixture
def empty_stack(tmp_path: Path) -> Iterator[Callable[[Mapping[str, str]], LocalStack]]:
    """Makes stacks on a fresh root, ended after the test."""
    made: list[LocalStack] = []

    def make(environment: Mapping[str, str]) -> LocalStack:
        made.append(LocalStack(tmp_path / "root", announce=lambda _: None, environment=environment))
        return made[-1]

    yield make
    for stack in made:
        stack.down()
