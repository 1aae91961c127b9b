"""A library that says the same hundreds of times is heard once in ten seconds, and with how many were left out."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from chatferry.common.telemetry.logs import FewRepeats, configure_logs, get_logger


class Clock:
    """Seconds that the test sets."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def written(clock: Clock) -> Iterator[io.StringIO]:
    """What the service's log says, for this test only."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs("tests", "INFO")
    stream = io.StringIO()
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    [repeats] = handler.filters
    assert isinstance(repeats, FewRepeats)
    repeats._now = clock
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_thousand_equal_lines_in_a_minute_are_six_that_count_the_others(written: io.StringIO, clock: Clock) -> None:
    library = logging.getLogger("aiokafka.conn")
    for number in range(1_000):
        library.error("Unable to connect to node with id %s", number)
        clock.seconds += 0.06
    assert [line.get("left_out") for line in lines(written)] == [None, *[166] * 5]


def test_other_templates_and_other_loggers_are_heard_at_once(written: io.StringIO) -> None:
    for name in ("aiokafka.conn", "aiokafka.client"):
        for template in ("Unable to connect to %s", "Failed fetch from %s"):
            logging.getLogger(name).warning(template, "somewhere")
            logging.getLogger(name).warning(template, "elsewhere")
    assert len(lines(written)) == 4


def test_a_line_that_a_library_has_formatted_itself_is_the_same_with_other_numbers(written: io.StringIO) -> None:
    for number in range(50):
        logging.getLogger("aiokafka").warning(f"no answer from node {number} after {number * 7} ms")
    assert len(lines(written)) == 1


def test_our_own_lines_are_all_written(written: io.StringIO) -> None:
    for _ in range(20):
        get_logger("chatferry.tests").warning("outage", part="kafka")
    assert len(lines(written)) == 20


def test_what_is_remembered_of_lines_is_bounded(clock: Clock) -> None:
    repeats = FewRepeats(clock)
    words = [f"{'x' * (number % 97)} {'y' * (number // 97)}" for number in range(5_000)]
    assert all(repeats.filter(logging.LogRecord("a", 30, "f", 1, word, (), None)) for word in words)
    assert len(repeats._seen) == 1_000
