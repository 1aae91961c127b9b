"""What all tests share: one real stack a session, and where spans are caught."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chatferry.common.cancelling import mend_wait_for
from chatferry.stack import Addresses, LocalStack, addresses_from_environment

ROOT = Path(__file__).parent.parent
mend_wait_for()
# Properties are drawn anew at every run, so a few dozen examples each time find what there is to be found.
# `--hypothesis-profile thorough` looks longer.
settings.register_profile("quick", max_examples=40, deadline=None)
settings.register_profile("thorough", max_examples=1_000, deadline=None)
settings.load_profile("quick")
# What would start servers of its own beside the containers, whose processes it watches or kills.
_OWN_SERVERS = {
    ROOT / "tests" / "integration" / "stack": "tests the local stack itself",
    ROOT / "tests" / "chaos": "kills processes of a local stack of its own; tests/containers kills containers",
    ROOT / "tests" / "integration" / "common" / "portal" / "test_bucket.py": "kills a redis-server of its own",
    ROOT / "tests" / "integration" / "participants" / "test_redis_away.py": "kills a redis-server of its own",
    ROOT / "tests" / "integration" / "operator" / "test_supervision.py": "kills parts of a local stack of its own",
    ROOT / "tests" / "integration" / "operator" / "test_clean.py": "starts a local stack of its own",
    ROOT / "tests" / "integration" / "operator" / "test_demo_participants.py": "starts local stacks of its own",
}
_OWN_STACK = "kills the Kafka of a local stack of its own"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stack",
        choices=("local", "docker"),
        default="local",
        help="who runs Kafka, MongoDB and Redis that the environment does not name: processes, or containers",
    )
    parser.addoption(
        "--compose", action="store_true", help="run tests/containers too: kills and outages of the compose stack"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--stack") != "docker":
        return
    for item in items:
        places = [reason for place, reason in _OWN_SERVERS.items() if item.path.is_relative_to(place)]
        if "own_stack" in getattr(item, "fixturenames", ()):
            places.append(_OWN_STACK)
        for reason in places[:1]:
            item.add_marker(pytest.mark.skip(reason=f"--stack=docker: {reason}"))


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Addresses]:
    """A real Kafka, MongoDB and Redis: those named in the environment, else started for this session."""
    if request.config.getoption("--stack") == "docker":
        yield from _containers()
    else:
        yield from _processes()


def _processes() -> Iterator[Addresses]:
    """Sessions that run at the same time share them; the last one to end stops them."""
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


def _containers() -> Iterator[Addresses]:
    # Here, as Docker's client is not needed by anybody else.
    from tests.containers.session import NOTHING_TO_RUN_ON, NoContainersError, session_containers

    try:
        with session_containers(addresses_from_environment(os.environ)) as addresses:
            yield addresses
    except NoContainersError as missing:
        pytest.exit(str(missing), returncode=NOTHING_TO_RUN_ON)


@pytest.fixture(scope="session")
def stack_addresses(stack: Addresses) -> Addresses:
    """The same, by the name of what it is."""
    return stack


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Keeps the spans that have ended."""
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return kept
