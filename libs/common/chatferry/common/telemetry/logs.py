"""JSON logs. Nothing that a source or a target wrote is ever logged; known leaks of libraries are closed here."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry import trace

# These log whole URLs (webhook secrets included) or record contents at INFO and DEBUG.
_LEAKY = ("httpx", "httpcore", "aiokafka", "kafka", "pymongo", "motor", "faststream", "uvicorn.access", "urllib3")

_OURS = "chatferry"
_NUMBERS = re.compile(r"\d+")
_REPEATED_EVERY_S = 10.0
_MOST_TEMPLATES = 1_000


class FewRepeats(logging.Filter):
    """Lets a line of a foreign library through once in 10 s per logger and template; ours, and exceptions, always.

    The next one let through says in `left_out` how many were not. A client that looks for a server which is away says
    so hundreds of times a minute. `now`: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] == _OURS:
            return True
        # Not every library leaves the formatting to logging: then the numbers are what differs.
        if record.exc_info:
            return True
        template, now = (record.name, _NUMBERS.sub("0", str(record.msg))), self._now()
        shown_at, left_out = self._seen.pop(template, (now - _REPEATED_EVERY_S, 0))
        shown = now - shown_at >= _REPEATED_EVERY_S
        self._seen[template] = (now, 0) if shown else (shown_at, left_out + 1)
        if len(self._seen) > _MOST_TEMPLATES:
            self._seen.popitem(last=False)
        if shown and left_out:
            record.left_out = left_out
        return shown


def configure_logs(service: str, level: str) -> None:
    """Send structlog and the standard library's logging to stdout, one JSON object a line."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_trace,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _with_left_out],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_values,
                structlog.processors.JSONRenderer(sort_keys=True, ensure_ascii=False),
            ],
        )
    )
    handler.addFilter(FewRepeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _LEAKY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(service=service)


def forget_values_of(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio reports an error that nobody awaited with its whole text: log its type and place instead."""
    log = get_logger(__name__)

    def report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # Neither "message" nor a task's repr is free of the exception's text.
        log.error("loop.error", exc_info=error if isinstance(error, BaseException) else None)

    loop.set_exception_handler(report)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for one module."""
    return structlog.stdlib.get_logger(name)


@contextmanager
def about(*, entity: str | None = None, run: str | None = None) -> Iterator[None]:
    """Lines written inside, and in tasks begun inside, name these; None leaves what is named already."""
    named = {name: value for name, value in (("entity", entity), ("run", run)) if value is not None}
    with structlog.contextvars.bound_contextvars(**named):
        yield


def _with_trace(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
    return event


def _with_left_out(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if left_out := getattr(event["_record"], "left_out", 0):
        event["left_out"] = left_out
    return event


def _without_values(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception's own text may quote a record or a URL: keep its type and the lines of code it passed."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[0] is not None:
        event["error"] = info[0].__name__
        if isinstance(code := getattr(info[1], "code", None), int | str):
            event["code"] = code
        event["where"] = _lines(info[2])
    return event


def _lines(traceback: Any) -> list[str]:
    lines = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        lines.append(f"{code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return lines[-6:]
