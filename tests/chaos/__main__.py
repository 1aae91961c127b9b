"""`python -m tests.chaos NAME --seed N [--long]`, or `all`: disturb a project of its own, print PASS or what broke."""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from tests.chaos.suite import SUITE

_LOCAL = Path(__file__).resolve().parents[2] / ".local" / "chaos"


def main(
    name: Annotated[str, typer.Argument(help=f"{', '.join(SUITE)}, or all.")] = "all",
    seed: Annotated[int | None, typer.Option(help="What is drawn; a new one without.")] = None,
    long: Annotated[bool, typer.Option("--long", help="The whole of it, instead of the short form.")] = False,
) -> None:
    """One after the other; the first failure ends it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if name != "all" and name not in SUITE:
        raise typer.BadParameter(f"there are: {', '.join(SUITE)}, all")
    for wanted in SUITE if name == "all" else (name,):
        drawn = random.SystemRandom().randrange(1, 10_000) if seed is None else seed
        sys.stdout.write(f"{wanted} seed={drawn} ...\n")
        sys.stdout.flush()
        passed = SUITE[wanted](_LOCAL, drawn, long)
        sys.stdout.write(f"{passed.line()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    typer.run(main)
