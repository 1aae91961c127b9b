"""What the stack needs to know of a part."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from chatferry.stack.addresses import PartName

Ports = Mapping[str, int]
"""Port numbers by their use; each part has at least `client`."""


class Part(Protocol):
    """One server: how it is started, and how it shows that it works. Holds no state of its own."""

    name: PartName
    title: str
    port_names: tuple[str, ...]

    def command(self, folder: Path, ports: Ports) -> list[str]:
        """Prepare `folder` (fetch, configure, format; all safe to repeat) and return the command that starts the part.

        The command line names `folder`. Raises StackError when the part cannot be had, OSError when the disk refuses.
        """
        ...

    def address(self, ports: Ports) -> str:
        """What a client connects to."""
        ...

    def settle(self, address: str) -> None:
        """What must happen once the part listens (safe to repeat). Raises UnhealthyError when it did not work yet."""
        ...

    def check(self, address: str) -> None:
        """One real request, answered within seconds. Raises UnhealthyError, which never repeats the address."""
        ...
