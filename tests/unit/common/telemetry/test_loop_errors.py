"""What asyncio says of errors that nobody awaited."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from chatferry.common.telemetry.logs import configure_logs, forget_values_of


@pytest.fixture
def _logs(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """JSON on what stands for stdout, for this test only."""
    del capsys
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs("tests", "INFO")
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.usefixtures("_logs")
async def test_an_error_that_nobody_awaited_is_logged_by_its_type_without_its_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def fail() -> None:
        raise ValueError("the text of a message")

    forget_values_of(asyncio.get_running_loop())
    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task
    gc.collect()
    printed = capsys.readouterr()
    assert "the text of a message" not in printed.out + printed.err
    [line] = printed.out.splitlines()
    said = json.loads(line)
    assert (said["event"], said["error"], said["level"]) == ("loop.error", "ValueError", "error")
    assert "fail" in said["where"][-1]


@pytest.mark.usefixtures("_logs")
async def test_a_report_without_an_error_says_nothing_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    loop = asyncio.get_running_loop()
    forget_values_of(loop)
    loop.call_exception_handler({"message": "the text of a message"})
    printed = capsys.readouterr()
    assert "the text of a message" not in printed.out + printed.err
    assert "loop.error" in printed.out
