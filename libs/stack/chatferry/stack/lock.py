"""One start, stop or restart of a stack at a time, whoever asks."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from chatferry.stack.deadline import Deadline
from chatferry.stack.errors import StackError


@contextmanager
def held(path: Path, deadline: Deadline, announce: Callable[[str], None]) -> Iterator[None]:
    """Hold the file lock; the kernel frees it when its holder dies. Raises StackError when the deadline passes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if not _taken(file.fileno()):
            announce("another command is at work on this stack: waiting for it")
            while not _taken(file.fileno()):
                if not deadline.wait_a_moment():
                    raise StackError(
                        f"Another command has been at work on the stack in {path.parent} for {deadline.seconds:.0f} s: "
                        "wait for it, or end it and try again."
                    )
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
