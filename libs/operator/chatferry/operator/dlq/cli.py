"""`chatferry dlq …`. Nothing is asked back, so that scripts may use it; all at once needs --all."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from chatferry.common.clock import SystemClock
from chatferry.common.documents import create_indexes
from chatferry.operator.dlq import delivery, letter, listing, words
from chatferry.operator.dlq.discard import Discarded, Word, discard
from chatferry.operator.dlq.kafka import contents_of, outlet_of
from chatferry.operator.dlq.lease import LetterLease
from chatferry.operator.dlq.mongo import MongoLetters, MongoRecords
from chatferry.operator.dlq.progress import ReplayProgress
from chatferry.operator.dlq.replay import Parts, Replayed, replay
from chatferry.operator.dlq.selection import Selection, insist
from chatferry.operator.folder import Folder
from chatferry.operator.runs import Store

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Dead letters: look at them, send them again.")
Class = Annotated[str | None, typer.Option("--class", help="permanent, exhausted, undecodable, unknown or rejected.")]
Code = Annotated[str | None, typer.Option(help="The code, as `list` shows it.")]
EntityName = Annotated[str | None, typer.Option("--entity", help="users, chats or chat_messages.")]
Chat = Annotated[int | None, typer.Option(help="A chat's number at the portal: the chat and its messages.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="A dead letter's id or a record's key; repeatable.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


def _with_store(work: Callable[[Store], Awaitable[T]]) -> T:
    async def run() -> T:
        store = Store(Folder.of(os.environ).load())
        try:
            return await work(store)
        finally:
            store.close()

    return asyncio.run(run())


def _say(line: str) -> None:
    Console().print(line, highlight=False, markup=False, soft_wrap=True)


@app.command(name="list")
def list_command(
    error_class: Class = None,
    code: Code = None,
    entity: EntityName = None,
    chat: Chat = None,
    ids: Ids = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, all groups in it.")] = False,
    each: Annotated[bool, typer.Option("--each", help="One line per dead letter, the oldest first.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most lines.")] = 30,
) -> None:
    """How many, by error class, code, entity and chat."""
    selection = Selection(error_class, code, entity, chat, tuple(ids or ()))

    async def work(store: Store) -> None:
        if each:
            letters = await listing.each(store.database, selection, limit)
            if as_json:
                sys.stdout.write(json.dumps(letters, ensure_ascii=False, indent=1) + "\n")
            else:
                listing.show_each(letters, Console(), limit)
            return
        found = await listing.grouped(store.database, selection)
        if as_json:
            sys.stdout.write(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
        else:
            listing.show_groups(found, Console(), limit)

    _with_store(work)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="A dead letter's id, or a record's key.")],
    reveal: Annotated[bool, typer.Option("--reveal", help="With names, texts and secrets.")] = False,
) -> None:
    """One of them: its story, and the record decoded."""

    async def work(store: Store) -> None:
        row = await letter.find(store.database, name)
        async with contents_of(store.database, store.project, SystemClock()) as contents:
            content = await letter.content_of(contents, row)
        letter.show(row, content, Console(), reveal=reveal)

    _with_store(work)


@app.command(name="replay")
def replay_command(
    error_class: Class = None,
    code: Code = None,
    entity: EntityName = None,
    chat: Chat = None,
    ids: Ids = None,
    everything: All = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait while nothing ends.")] = 60,
) -> None:
    """Send them again, and wait until they arrived.

    Cut off at any moment, the same command finishes it. One at a time: beside another one it ends at once.
    """
    selection = Selection(error_class, code, entity, chat, tuple(ids or ()))
    insist(selection, everything=everything)
    done, stopped = _with_store(lambda store: _replay(store, selection, wait))
    for line in words.of_replay(done, stopped):
        _say(line)
    if not done.proved:
        raise typer.Exit(1)


def _name(kind: str, now: datetime) -> str:
    return f"{kind}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


async def _replay(store: Store, selection: Selection, wait_s: float) -> tuple[Replayed, list[str]]:
    """What has become of it, and the sentences of families that too many new deaths have stopped meanwhile."""
    now = datetime.now(UTC)
    await create_indexes(store.database)
    name = _name("replay", now)

    async def work() -> Replayed:
        await delivery.open_for(store.database, selection)
        return await _send_all(store, selection, wait_s, (name, now))

    done = await LetterLease(store.database, "replay", name, SystemClock()).alone(work)
    stopped = await delivery.halted_of(store.database, selection) if done.outcome.left else {}
    return done, list(stopped.values())


async def _send_all(store: Store, selection: Selection, wait_s: float, replayed: tuple[str, datetime]) -> Replayed:
    (name, now), clock = replayed, SystemClock()
    letters = MongoLetters(store.database, name, now)
    async with AsyncExitStack() as stack:
        contents = await stack.enter_async_context(contents_of(store.database, store.project, clock))
        outlet = await stack.enter_async_context(outlet_of(store.project))
        parts = Parts(letters, contents, MongoRecords(store.database, now), outlet, letters, clock)
        progress = stack.enter_context(ReplayProgress(Console()))
        return await replay(parts, selection, progress, wait_s)


@app.command(name="discard")
def discard_command(
    reason: Annotated[str, typer.Option(help="Why; the ledger counts it under this.")],
    by: Annotated[str, typer.Option(help="Who gives them up.")],
    error_class: Class = None,
    code: Code = None,
    entity: EntityName = None,
    chat: Chat = None,
    ids: Ids = None,
    everything: All = False,
    with_children: Annotated[
        bool, typer.Option("--with-children", help="With a chat, the messages that wait for it.")
    ] = False,
) -> None:
    """Give them up: skipped, with the reason kept. Beside a replay, or another discard, it ends at once."""
    selection = Selection(error_class, code, entity, chat, tuple(ids or ()))
    insist(selection, everything=everything)
    word = Word(by, datetime.now(UTC), reason)
    done = _with_store(lambda store: _discard(store, selection, word, with_children=with_children))
    for line in words.of_discard(done):
        _say(line)
    if done.unsettled:
        raise typer.Exit(1)


async def _discard(store: Store, selection: Selection, word: Word, *, with_children: bool) -> Discarded:
    lease = LetterLease(store.database, "discard", _name("discard", word.at), SystemClock())
    return await lease.alone(lambda: discard(store.database, selection, word, with_children=with_children))


@app.command()
def resume(
    family: Annotated[str | None, typer.Argument(help="users or chats; all of them without it.")] = None,
) -> None:
    """Go on where too many of them stopped delivery."""
    resumed = _with_store(lambda store: delivery.resume(store.database, family))
    if resumed:
        _say(f"{', '.join(resumed)}: delivered again; `chatferry migrate` finishes and proves it")
    else:
        _say("nothing was stopped")
