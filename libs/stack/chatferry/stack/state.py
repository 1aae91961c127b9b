"""What the stack remembers of its parts: `<root>/stack/state.json`."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chatferry.stack.errors import StackError
from chatferry.stack.process import ProcessId


@dataclass(frozen=True, slots=True)
class PartState:
    """The ports a part had last, and its process if it was started and not stopped since."""

    ports: Mapping[str, int] = field(default_factory=dict)
    process: ProcessId | None = None


class StateFile:
    """Read and written whole; a reader never sees half a file. Writers hold the stack's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, part: str) -> PartState:
        """The state of a part, empty if it never ran. Raises StackError when the file is not ours."""
        found = self._load().get(part)
        if found is None:
            return PartState()
        try:
            process = found["process"]
            ports = {str(name): int(port) for name, port in found["ports"].items()}
            return PartState(
                ports, ProcessId(int(process["pid"]), float(process["born_s_after_boot"])) if process else None
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._damaged() from error

    def write(self, part: str, state: PartState) -> None:
        """Replace the state of one part. Raises OSError."""
        content = self._load() | {part: asdict(state)}
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(content, indent=1, default=dict) + "\n")
        os.replace(fresh, self._path)

    def _load(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise self._damaged() from error
        if not isinstance(content, dict):
            raise self._damaged()
        return content

    def _damaged(self) -> StackError:
        return StackError(
            f"{self._path} is damaged, so the stack does not know its processes: "
            f"end what runs on {self._path.parent} (java, mongod, redis-server), remove the file, and start again."
        )
