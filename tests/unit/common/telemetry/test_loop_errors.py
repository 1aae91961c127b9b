"""What asyncio says of errors that nobody awaited."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from chatferry.common.telemetry.logs import configure_logs, forget_values_of


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the service's log says, for this test only."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs("tests", "INFO")
    stream = io.StringIO()
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


async def test_an_error_that_nobody_awaited_is_logged_by_its_type_without_its_text(written: io.StringIO) -> None:
    async def fail() -> None:
        raise ValueError("the text of a message")

    forget_values_of(asyncio.get_running_loop())
    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
    gc.collect()
    assert "the text of a message" not in written.getvalue()
    [line] = written.getvalue().splitlines()
    said = json.loads(line)
    assert (said["event"], said["error"], said["level"]) == ("loop.error", "ValueError", "error")
    assert "fail" in said["where"][-1]


async def test_a_report_of_asyncio_itself_is_logged_without_its_text(written: io.StringIO) -> None:
    loop = asyncio.get_running_loop()
    forget_values_of(loop)
    loop.call_exception_handler({"message": "the text of a message"})
    [line] = written.getvalue().splitlines()
    assert json.loads(line)["event"] == "loop.error"
    assert "the text of a message" not in line
