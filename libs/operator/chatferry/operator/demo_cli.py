"""`chatferry demo`, and the demos beside it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from chatferry.common.errors import ConfigurationError
from chatferry.operator.counting.options import Options
from chatferry.operator.counting.run import Outputs, run_participants
from chatferry.operator.demo import DemoOptions, run_demo
from chatferry.operator.folder import Folder
from chatferry.operator.processes import ended_by_signals

app = typer.Typer(invoke_without_command=True)


@app.callback()
def demo(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help="Folder with users, chats and messages as JSONL.")] = None,
    seed: Annotated[int, typer.Option(help="The portal that is made up without a folder.")] = 1,
    keep: Annotated[bool, typer.Option(help="Leave everything running afterwards.")] = False,
    max_rate: Annotated[float | None, typer.Option(min=0.01, help="Most requests per second to the portal.")] = None,
    bucket: Annotated[str, typer.Option(help="The portal's limits, CAPACITY:PER_SECOND, or off.")] = "50:2",
) -> None:
    """Move a portal's users, chats and messages over a real Kafka into the target, and prove it."""
    if context.invoked_subcommand is not None:
        _refuse_given(context)
        return
    options = DemoOptions(data, seed, keep, max_rate, bucket)
    with ended_by_signals():
        verified = asyncio.run(run_demo(Folder.of(os.environ), options, Console()))
    if not verified:
        raise typer.Exit(1)


def _refuse_given(context: typer.Context) -> None:
    """They would be passed over in silence."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        raise ConfigurationError(
            f"--{given[0].replace('_', '-')} is an option of `chatferry demo`; those of"
            f" `chatferry demo {context.invoked_subcommand}` come after its name"
        )


@app.command()
def participants(
    chats: Annotated[int, typer.Option(help="Chats at MAX.")] = 200,
    seconds: Annotated[int, typer.Option(help="How long it is watched, the quiet at the end included.")] = 60,
    replicas: Annotated[int, typer.Option(help="Processes of the service.")] = 2,
    events: Annotated[Literal["on", "off"], typer.Option(help="Whether MAX tells of changes.")] = "on",
    seed: Annotated[int, typer.Option(help="The same seed makes the same chats and changes.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The verdict as one JSON object on stdout.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards.")] = False,
) -> None:
    """Participant counts that follow a MAX platform, live, and judged by what is really so."""
    outputs = Outputs(Console(stderr=as_json), as_json, keep)
    if not run_participants(Folder.of(os.environ), Options(chats, seconds, replicas, events, seed), outputs):
        raise typer.Exit(1)
