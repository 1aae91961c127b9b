"""The last words of a part that failed."""

import json
import re
from pathlib import Path

_TAIL_BYTES = 64 * 1024
_LINE_CHARACTERS = 400
_LINES = 3
_CAUSE = re.compile(
    r"No space left|File too large|quota exceeded|Read-only file system|Permission denied|Cannot allocate memory|"
    r"[Aa]ddress already in use|error while loading|DBPathInUse|OutOfMemoryError"
)
"""What a person can act on; it wins over the complaints that follow from it."""
_ERROR = re.compile(r"\b(ERROR|FATAL)\b|^\d+:\w .* # |Caused by|\"s\": ?\"[EF]\"")
_NOISE = re.compile(r"overcommit|oO0Oo|just started|Configuration loaded|Server initialized|^at ")
"""What stands in the log of a part that is well, or fills the lines between an error and its cause."""


def rotate(log: Path) -> None:
    """Begin a new log and keep the one before as `<name>.1`, so that it does not grow without end."""
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))


def last_errors(log: Path) -> str:
    """The last line that tells a cause, else the last three that report errors, else the last lines; readable.

    Joined by ` | `; empty without a log.
    """
    lines = [line for line in _lines(log) if not _NOISE.search(line)]
    if causes := [line for line in lines if _CAUSE.search(line)]:
        return _readable(causes[-1])
    errors = [line for line in lines if _ERROR.search(line)]
    return " | ".join(_readable(line) for line in (errors or lines)[-_LINES:])


def tail(log: Path) -> str:
    """The end of the log as it is; empty without a log."""
    return "\n".join(_lines(log))


def _lines(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


def _readable(line: str) -> str:
    text = _of_mongod(line) if line.startswith("{") else line
    text = " ".join(text.split())
    cause = _CAUSE.search(text)
    begin = max(0, cause.end() - _LINE_CHARACTERS) if cause else 0
    return text[begin : begin + _LINE_CHARACTERS]


def _of_mongod(line: str) -> str:
    """mongod writes JSON lines: message in `msg`, what it is about in `attr`."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict) or "msg" not in entry:
        return line
    attributes = entry.get("attr")
    return f"{entry['msg']} {json.dumps(attributes, ensure_ascii=False)}" if attributes else str(entry["msg"])
