"""The control interface: what a judge asks, what a person breaks, wrong requests answered with a sentence."""

import asyncio
from typing import Any

import httpx
import pytest
from tests.contract.simulators.max.helpers import Json, Max, chats_of, control

from chatferry.simulators.max import Running


async def test_the_truth_is_told_as_numbers(api: Max, running: Running, client: httpx.AsyncClient) -> None:
    async def ask(path: str) -> Json:
        return await control(running, client, "GET", path)

    chat = chats_of(running)[0]
    since = (await ask("/truth"))["now_ms"]
    await asyncio.sleep(0.01)
    assert await api.count(chat.id) == (await ask("/truth/counts"))["counts"][str(chat.id)] == 250
    who = await control(running, client, "POST", "/changes/add_user", {"chat_id": chat.id})
    assert who["result"] in chat.members
    history = (await ask(f"/truth/history?chat_id={chat.id}"))["history"][str(chat.id)]
    assert [count for _, count in history] == [250, 251]
    assert history[1][0] >= since
    assert len((await ask("/truth/history"))["history"]) == 20
    assert (await ask("/truth/calls"))["reads"] == 1
    assert (await ask(f"/truth/calls?since_ms={since + 10**6}"))["total"] == 0
    assert await ask("/truth/calls/chats") == {str(chat.id): 1}
    assert await ask("/truth/calls/twice") == []
    assert (await ask("/truth/events"))["changes"]["told"] == 1
    rows = {row["chat_id"]: row for row in await ask("/truth/chats")}
    assert rows[chat.id]["count"] == 251
    assert rows[chat.id]["events"] is True


async def test_the_overview_shows_no_secret(api: Max, running: Running, client: httpx.AsyncClient) -> None:
    body = {"url": "http://127.0.0.1:9/hook", "secret": "very-secret"}
    await api.result("/subscriptions", "POST", json=body)
    text = (await client.get(f"{running.control}/truth")).text
    assert "127.0.0.1:9/hook" in text
    assert "very-secret" not in text
    assert running.token not in text


async def test_everything_that_can_happen_is_a_verb(running: Running, client: httpx.AsyncClient) -> None:
    async def do(name: str, **body: Any) -> Json:
        return (await control(running, client, "POST", f"/changes/{name}", body))["result"]

    chat = chats_of(running)[0]
    await do("remove_user", chat_id=chat.id, user_id=await do("add_user", chat_id=chat.id))
    assert await do("move_silently", chat_id=chat.id, by=-3) == 247
    await do("set_admin", chat_id=chat.id, admin=False)
    await do("rename", chat_id=chat.id, title="Новое имя")
    await do("post", chat_id=chat.id)
    await do("remove_bot", chat_id=chat.id, status="left")
    assert (chat.title, chat.status, chat.has_bot) == ("Новое имя", "left", False)
    await do("add_bot", chat_id=chat.id)
    assert running.world.platform.chats[await do("new_chat", kind="channel", members=9)].count == 9
    assert await do("announce") == len(running.world.platform.shared())
    await do("send", update={"update_type": "brand_new", "anything": [1]})


async def test_settings_faults_script_and_clock_are_switched(
    api: Max, running: Running, client: httpx.AsyncClient
) -> None:
    settings = await control(running, client, "PATCH", "/settings", {"speed": 60, "delivery": {"drop": 0.5}})
    assert (settings["speed"], settings["delivery"]["drop"], settings["delivery"]["retries"]) == (60, 0.5, 10)
    assert settings == await control(running, client, "GET", "/settings")
    before = (await control(running, client, "GET", "/truth"))["now_ms"]
    assert (await control(running, client, "POST", "/clock/skip", {"seconds": 3600}))["now_ms"] >= before + 3_600_000
    assert (await control(running, client, "POST", "/script/pause"))["running"] is False
    assert (await control(running, client, "POST", "/script/resume"))["running"] is True
    await control(running, client, "POST", "/faults", {"kind": "denied", "paths": "/me"})
    assert await api.error("/me") == (403, "chat.denied")
    assert [fault["kind"] for fault in await control(running, client, "GET", "/faults")] == ["denied"]
    await control(running, client, "DELETE", "/faults")
    await api.result("/me")


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "sentence"),
    [
        ("POST", "/changes/explode", {}, 404, "there is no change 'explode'"),
        ("POST", "/changes/add_user", {"chat_id": -1}, 404, "there is no chat -1"),
        ("POST", "/changes/add_user", {}, 400, "missing a required argument: 'chat_id'"),
        ("POST", "/changes/add_user", {"chat_id": "-1"}, 400, "chat_id must be int"),
        ("POST", "/faults", {"kind": "fire"}, 400, "'fire' is not a valid FaultKind"),
        ("POST", "/faults", [1], 400, "the body must be a JSON object"),
        ("PATCH", "/settings", {"delivery": {"drop": 2}}, 400, "delivery.drop: Input should be less than or equal"),
        ("PATCH", "/settings", {"rate": 2}, 400, "rate: Extra inputs are not permitted"),
        ("POST", "/script/burn", None, 404, "the script can pause and resume"),
        ("POST", "/clock/skip", {"seconds": "x"}, 400, "seconds must be float or int"),
        ("GET", "/truth/calls?since_ms=x", None, 400, "invalid literal"),
        ("GET", "/nowhere", None, 404, "Not Found"),
    ],
)
async def test_wrong_requests_are_answered_with_a_sentence(
    running: Running, client: httpx.AsyncClient, verb: str, path: str, body: Json, status: int, sentence: str
) -> None:
    answer = await client.request(verb, f"{running.control}{path}", json=body)
    assert (answer.status_code, answer.json()["error"][: len(sentence)]) == (status, sentence)
