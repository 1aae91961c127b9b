"""`python -m chatferry.stack up|down|status [--root .local]`; exit code 0 when all is as asked, else 1."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from chatferry.stack.errors import StackError
from chatferry.stack.local import LocalStack


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m chatferry.stack", description="A local Kafka, MongoDB and Redis.")
    parser.add_argument("what", choices=("up", "down", "status"))
    parser.add_argument("--root", type=Path, default=Path(".local"), help="folder of data, logs and state")
    asked = parser.parse_args(arguments)
    try:
        stack = LocalStack(asked.root, announce=_say)
        if asked.what == "status":
            return _status(stack)
        if asked.what == "up":
            stack.up()
        else:
            stack.down()
    except StackError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _status(stack: LocalStack) -> int:
    parts = stack.status()
    for part in parts:
        _say(f"{part.name:8} {part.pid or '-':>8}  {part.address or '-'}  {part.detail}")
    return 0 if all(part.healthy for part in parts) else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
