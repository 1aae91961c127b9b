"""Whose data a folder keeps: a demo deletes what earlier demos left, and nothing else."""

from __future__ import annotations

import re
from typing import IO

from chatferry.common.errors import ConfigurationError
from chatferry.operator.folder import Folder, read_json, write_atomically

SERVERS = "whatever uses the servers that `chatferry stack up` starts"
"""Nobody knows what was put there."""
_DEMOS = re.compile(r"demo(-[0-9a-f]{6})?")


def project_of_up(name: str) -> str:
    """As the mark and the sentence name it."""
    return f"project {name} of `chatferry up`"


def keep(folder: Folder, whose: str) -> None:
    """Leave the mark that data here are somebody's, beside those of before. Raises ConfigurationError."""
    write_atomically(folder.kept, "".join(f"{one}\n" for one in sorted({*_marked(folder), whose})))


def take_for_demo(folder: Folder) -> IO[str]:
    """The folder's lock, for a demo. Raises ConfigurationError when it is in use, or keeps data of anything else."""
    lock = folder.take("a demo")
    owners = _marked(folder)
    last = read_json(folder.project).get("name")
    if not owners and isinstance(last, str) and _DEMOS.fullmatch(last) is None:
        owners = [project_of_up(last)]  # of a version that left no mark
    if owners:
        lock.close()
        raise ConfigurationError(
            f"a demo would delete the data that {folder.root} keeps of {' and '.join(owners)}:"
            " give the demo another folder with CHATFERRY_LOCAL,"
            " or, if nobody needs them, remove that folder after `chatferry down`"
        )
    return lock


def _marked(folder: Folder) -> list[str]:
    try:
        return folder.kept.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
