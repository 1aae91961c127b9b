"""The `chatferry` command. Exit codes: 0 all that was asked for is proved, 1 it is not, 2 a person must act."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import stamina
import typer
from rich.console import Console

from chatferry.common.adapters.replica_set import ensure_replica_set
from chatferry.common.clock import SystemClock
from chatferry.common.contracts.events import PHASES, Phase
from chatferry.common.entities import ENTITIES
from chatferry.common.errors import ChatferryError, ConfigurationError, FatalError
from chatferry.common.settings import kafka_address
from chatferry.operator.accept import Word, accept
from chatferry.operator.containers import keep_webhooks, patiently, prepare_secrets
from chatferry.operator.demo import bootstrap
from chatferry.operator.demo_cli import app as demo_app
from chatferry.operator.dlq.cli import app as dlq_app
from chatferry.operator.doctor import examine
from chatferry.operator.every_chat import write_whole
from chatferry.operator.folder import Folder, named_project
from chatferry.operator.kept import SERVERS, keep, project_of_up
from chatferry.operator.launch import Launch, given_portal, given_target, launch
from chatferry.operator.migration import Migration
from chatferry.operator.processes import check_unsupervised, ended_by_signals, stop
from chatferry.operator.runs import UNDER_WAY, Options, Store
from chatferry.operator.status import Wanted, show, snapshot
from chatferry.operator.stopping import ask_to_stop, wait_for_end
from chatferry.stack import Addresses, LocalStack, StackError, without_secret

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
stack_app = typer.Typer(no_args_is_help=True, help="The local Kafka, MongoDB and Redis.")
app.add_typer(demo_app, name="demo")
app.add_typer(stack_app, name="stack")
app.add_typer(dlq_app, name="dlq")
Rate = Annotated[float | None, typer.Option(min=0.01, help="Most requests per second to the portal.")]


def main() -> None:
    """Run the command; an error of ours is one sentence on stderr."""
    # What is tried again is no news, and by default would go to stdout, where a verdict is read.
    stamina.instrumentation.set_on_retry_hooks(())
    try:
        _check_text(sys.argv[1:])
        app()
    except (ChatferryError, StackError) as wrong:
        sys.stderr.write(f"chatferry: {wrong}\n")
        sys.exit(2)


def _check_text(words: Sequence[str]) -> None:
    """Raises FatalError: neither MongoDB nor a terminal takes bytes that are no text."""
    for word in words:
        if any("\ud800" <= sign <= "\udfff" for sign in word):
            raise FatalError("words.bytes", f"{word!r} is no text in UTF-8; write it anew")


def _folder() -> Folder:
    return Folder.of(os.environ)


def _kafka() -> str:
    try:
        return kafka_address(os.environ["CHATFERRY_KAFKA"])
    except ValueError as wrong:
        raise ConfigurationError(f"CHATFERRY_KAFKA {wrong}") from None


def _console() -> Console:
    return Console()


def _plainly(line: str) -> None:
    """Word for word: an address may look like markup."""
    _console().print(line, highlight=False, markup=False, soft_wrap=True)


def _with_store(work: Callable[[Folder, Store], Awaitable[T]]) -> T:
    async def run() -> T:
        folder = _folder()
        store = Store(folder.load())
        try:
            return await work(folder, store)
        finally:
            store.close()

    return asyncio.run(run())


@app.command()
@ended_by_signals()
def up() -> None:
    """Start stack, target and services for the portal of CHATFERRY_PORTAL_WEBHOOKS_FILE; they stay up.

    The target of CHATFERRY_TARGET_URL_FILE, where that is set, takes the place of the one that comes with chatferry.
    """
    folder, console = _folder(), _console()
    project = named_project(os.environ, "local")
    portal, target = given_portal(folder, os.environ), given_target(folder, os.environ)
    lock = folder.take("`chatferry up`")
    if stop(folder):
        console.print("ended what a supervisor that died had left running")
    stack = LocalStack(folder.root, announce=_plainly)
    try:
        addresses = stack.up()
        keep(folder, project_of_up(project))
        asyncio.run(bootstrap(addresses, project))
        launch(folder, Launch(project, addresses, portal, {}, folder.root, target), lock, _plainly)
    except BaseException:
        stop(folder)
        stack.down()
        raise
    _plainly("everything is up: `chatferry migrate chats`, `chatferry status`, `chatferry down`")


@app.command()
def down() -> None:
    """Stop what `up` or `demo --keep` left running; data stay."""
    folder = _folder()
    stopped = stop(folder)
    LocalStack(folder.root, announce=_plainly).down()
    _console().print("stopped" if stopped else "nothing was running")


@app.command()
def migrate(
    family: Annotated[Literal["users", "chats"], typer.Argument(help="What to move.")],
    phase: Annotated[Phase | None, typer.Option(help="Only this phase; all three without it.")] = None,
    test_limit: Annotated[
        int | None, typer.Option(min=1, max=1_000_000_000, help="List only N chats and the newest N messages.")
    ] = None,
    max_rate: Rate = None,
    no_users: Annotated[bool, typer.Option("--no-users", help="Do not move the users first.")] = False,
) -> None:
    """Move what is new or changed at the portal, and prove it."""
    options = Options((phase,) if phase else PHASES, test_limit, max_rate)

    async def work(folder: Folder, store: Store) -> bool:
        return await Migration(folder, store, _console()).migrate(family, options, with_needs=not no_users)

    if not _with_store(work):
        raise typer.Exit(1)


@app.command()
def verify(family: Annotated[Literal["users", "chats"], typer.Argument(help="What to compare.")] = "chats") -> None:
    """Compare all that was moved with the target again, from the beginning."""

    async def work(folder: Folder, store: Store) -> bool:
        return await Migration(folder, store, _console()).migrate(
            family, Options(("verify",), anew=True), with_needs=False
        )

    if not _with_store(work):
        raise typer.Exit(1)


@app.command(name="stop")
def stop_command(
    run: Annotated[str | None, typer.Argument(help="The run; the newest one under way without it.")] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for its end.")] = 60.0,
) -> None:
    """End a run at a safe point; nothing is lost, and the next `migrate` of its family goes on where it stood."""

    async def work(_folder: Folder, store: Store) -> dict[str, Any]:
        return await wait_for_end(store, await ask_to_stop(store, run), wait)

    document = _with_store(work)
    state = str(document["state"])
    if state in UNDER_WAY:
        raise FatalError("stop.waits", f"{document['_id']} is {state} still; the extractor ends it when it can")
    _console().print(f"{document['_id']}: {state}; {document.get('reason') or 'it had come to its end'}", markup=False)


@app.command(name="accept")
def accept_command(
    key: Annotated[str, typer.Argument(help="The key of the gap, as the report has it: source:chat:84.")],
    by: Annotated[str, typer.Option(help="Who accepts it.")],
    reason: Annotated[str | None, typer.Option(help="Why it may stay.")] = None,
) -> None:
    """Accept by name what the portal did not show; it holds until the gap changes."""

    async def work(_folder: Folder, store: Store) -> dict[str, Any]:
        return await accept(store.database, key, Word(by, datetime.now(UTC), reason))

    note = _with_store(work)
    what = f"a gap of {note['gap']}, {note['state']}" if note["gap"] else str(note["state"])
    _console().print(
        f"{key} ({what}) is accepted by {note['by']}; now: `chatferry verify`", markup=False, soft_wrap=True
    )


@app.command()
def republish(entity: Annotated[str, typer.Argument(help="users, chats or chat_messages.")]) -> None:
    """Send an entity's records to its topic again, for a subscriber that came late."""
    if entity not in ENTITIES:
        raise ConfigurationError(f"there is no entity {entity!r}; there are: {', '.join(ENTITIES)}")

    async def work(folder: Folder, store: Store) -> bool:
        return await Migration(folder, store, _console()).republish(entity)

    if not _with_store(work):
        raise typer.Exit(1)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    watch: Annotated[bool, typer.Option(help="Again every two seconds, until Ctrl-C.")] = False,
    chat: Annotated[int | None, typer.Option(min=1, help="The ledger of this chat of the portal, too.")] = None,
    chats: Annotated[
        Literal["open", "all"], typer.Option(help="With --json: the ledger of 100 chats that are not done, or of all.")
    ] = "open",
) -> None:
    """Where everything is, what runs, how far it is."""
    console = _console()
    if chats == "all":
        if watch or not as_json:
            raise ConfigurationError("--chats all may be a million rows; give --json with it, and no --watch")
        _with_store(lambda folder, store: _status_of_all(folder, store, chat))
        return
    # Every two seconds would be too often for a look at every chat.
    wanted = Wanted(chat, parents=not watch)
    while True:
        state = _with_store(lambda folder, store: snapshot(folder, store.project, store, wanted))
        if as_json:
            sys.stdout.write(json.dumps(state, ensure_ascii=False, indent=1) + "\n")
        else:
            if watch:
                console.clear()
            show(state, console)
        if not watch:
            return
        time.sleep(2)


async def _status_of_all(folder: Folder, store: Store, chat: int | None) -> None:
    state = await snapshot(folder, store.project, store, Wanted(chat, parents=False))
    await write_whole(state, store.database, sys.stdout)


@app.command()
def doctor() -> None:
    """Check everything that a migration stands on, by name; changes nothing."""
    if not asyncio.run(examine(_folder(), os.environ, _console())):
        raise typer.Exit(1)


@app.command(name="bootstrap")
def bootstrap_command(
    wait: Annotated[float, typer.Option(min=0, help="Seconds that Kafka and MongoDB may take to answer.")] = 0,
    initiate_replica_set: Annotated[
        bool, typer.Option("--initiate-replica-set", help="Initiate the set that CHATFERRY_MONGODB names.")
    ] = False,
    secrets: Annotated[Path | None, typer.Option(help="Folder that gets the secrets the services read.")] = None,
    target: Annotated[str, typer.Option(help="Base URL of the target, for --secrets.")] = "http://127.0.0.1:8080",
) -> None:
    """Create the topics, indexes and mapping of CHATFERRY_PROJECT where CHATFERRY_KAFKA and CHATFERRY_MONGODB say."""
    missing = [name for name in ("CHATFERRY_KAFKA", "CHATFERRY_MONGODB") if not os.environ.get(name)]
    if missing:
        raise ConfigurationError(f"{' and '.join(missing)} not set; say where the parts are")
    project = named_project(os.environ, "demo")
    addresses = Addresses(_kafka(), os.environ["CHATFERRY_MONGODB"], "")
    if secrets is not None:
        prepare_secrets(secrets, target)

    async def everything() -> None:
        if initiate_replica_set:
            await ensure_replica_set(addresses.mongodb)
        await bootstrap(addresses, project)

    asyncio.run(patiently(everything, wait, SystemClock()))
    _console().print("topics, indexes and mapping are there")


@app.command()
def webhooks(folder: Annotated[Path, typer.Argument(help="The folder of the secrets.")]) -> None:
    """Keep the portal's webhook URLs, read from standard input, one a line."""
    keep_webhooks(folder, sys.stdin.read())
    _console().print("the webhooks are kept")


@stack_app.command("up")
def stack_up() -> None:
    """Start what does not run; data stay."""
    folder = _folder()
    addresses = LocalStack(folder.root, announce=_plainly).up()
    keep(folder, SERVERS)
    for name, address in (("kafka", addresses.kafka), ("mongodb", addresses.mongodb), ("redis", addresses.redis)):
        _plainly(f"{name} {without_secret(address)}")


@stack_app.command("down")
def stack_down() -> None:
    """Stop what runs; data stay."""
    folder = _folder()
    check_unsupervised(folder)
    LocalStack(folder.root, announce=_plainly).down()


@stack_app.command("status")
def stack_status() -> None:
    """Each part, asked for real."""
    parts = LocalStack(_folder().root, announce=lambda _: None).status()
    for part in parts:
        _plainly(f"{part.name}: {part.address or '-'} (pid {part.pid or '-'}): {part.detail}")
    if not all(part.healthy for part in parts):
        raise typer.Exit(1)
