"""The control interface of a real simulator, as the demo reads it; and the records that name its chats."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from tests.architecture.tree import ROOT

from chatferry.common.errors import FatalError
from chatferry.common.streaming.records import StoredRecord
from chatferry.operator.counting.platform import Chat, Control, open_control
from chatferry.operator.counting.portal import portal_records
from chatferry.participants.handlers import read_chat
from chatferry.simulators.max.generator import Size
from chatferry.simulators.max.server import Running, serve
from chatferry.simulators.max.settings import Serve, Settings, changed


@pytest.fixture
async def max_side(tmp_path: Path) -> AsyncIterator[Running]:
    settings = changed(Settings(), {"script": {"changes_per_minute": 0}, "delivery": {"https_only": False}})
    size = Size(seed=5, chats=6, largest=9, dialogs=0.2)
    async with serve(size, settings, Serve(token_file=tmp_path / "token")) as running:
        yield running


@pytest.fixture
async def control(max_side: Running) -> AsyncIterator[Control]:
    async with open_control(max_side.control) as opened:
        yield opened


async def asked(max_side: Running, method: str, path: str, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(headers={"authorization": max_side.token}) as client:
        return await client.request(method, f"{max_side.http}{path}", **more)


async def test_chats_counts_and_history_are_those_of_the_platform(max_side: Running, control: Control) -> None:
    chats = await control.chats()
    shared = {chat.id: chat.count for chat in max_side.world.platform.shared()}
    assert {chat.id: chat.count for chat in chats} == shared, "a dialog counts two for ever: it is not looked at"
    assert shared.items() <= (await control.counts()).items()
    chat = chats[0]
    max_side.world.changes.add_user(chat.id)
    max_side.world.changes.remove_bot(chats[1].id)
    now_ms, history = await control.history(0)
    assert [count for _, count in history[chat.id]] == [chat.count, chat.count + 1]
    assert history[chats[1].id][-1][1] is None
    assert history[chat.id][-1][0] <= now_ms
    assert chats[1].id not in await control.counts()


async def test_calls_are_those_that_arrived(max_side: Running, control: Control) -> None:
    chat = (await control.chats())[0]
    for _ in range(3):
        await asked(max_side, "GET", f"/chats/{chat.id}")
    await asked(max_side, "GET", "/me")
    calls = await control.calls()
    assert (calls.total, calls.reads, calls.twice_at_once, calls.refused) == (4, 3, 0, 0)
    assert 1 <= calls.most_in_a_second <= 4
    assert (await control.calls(since_ms=2**50)).total == 0


async def test_where_nobody_listens_every_change_is_missed(max_side: Running, control: Control) -> None:
    first, second = (await control.chats())[:2]
    max_side.world.changes.add_user(first.id)
    max_side.world.changes.add_user(second.id, silent=True)
    assert not await control.subscribed()
    assert (await control.moves()).missed_share == 1.0
    await asked(max_side, "POST", "/subscriptions", json={"url": "http://127.0.0.1:9/hook"})
    assert await control.subscribed()
    assert (await control.moves()).missed_share == 0.5


async def test_the_script_goes_on_and_pauses_when_told(max_side: Running, control: Control) -> None:
    assert await control.pause() > 0
    assert not max_side.world.script.running
    await control.resume()
    assert max_side.world.script.running


async def test_a_platform_that_does_not_answer_ends_the_demo_with_a_sentence() -> None:
    async with open_control("http://127.0.0.1:9/control") as gone:
        with pytest.raises(FatalError, match="does not answer"):
            await gone.counts()


def test_a_chat_of_the_portal_is_a_record_that_the_service_and_every_subscriber_can_read() -> None:
    links, records = portal_records("demo", [Chat(-70, "Ёлка", 33, True), Chat(-71, "", 2, True)])
    assert links == {1: -70, 2: -71}
    schema = json.loads((ROOT / "docs" / "schemas" / "records" / "chats.json").read_text(encoding="utf-8"))
    for record, title, members in zip(records, ("Ёлка", ""), (33, 2), strict=True):
        assert record.topic == "demo.chats"
        assert record.value is not None
        Draft202012Validator(schema).validate(json.loads(record.value))
        stored = StoredRecord(record.topic, 0, 0, 0, record.key, record.value, tuple(record.headers))
        source = read_chat(stored)
        assert (source.title, source.static_count, source.version) == (title, members, 1)
        assert source.id in links
