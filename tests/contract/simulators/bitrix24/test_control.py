"""The control interface over HTTP, and the truth it tells."""

import asyncio
import json
from pathlib import Path

import httpx
from tests.contract.simulators.bitrix24.helpers import Json, Rest

from chatferry.simulators.bitrix24 import Running


async def control(running: Running, client: httpx.AsyncClient, verb: str, path: str, body: Json = None) -> Json:
    answer = await client.request(verb, f"{running.control}{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_changes_are_made_and_seen_through_the_portal(
    running: Running, client: httpx.AsyncClient, owner: Rest
) -> None:
    body = {"chat_id": 11, "author_id": 1, "text": "от руки"}
    message_id = (await control(running, client, "POST", "/changes/post", body))["result"]
    page = await owner.result("im.dialog.messages.get", {"DIALOG_ID": "chat11", "LIMIT": 1})
    assert (page["messages"][0]["id"], page["messages"][0]["text"]) == (message_id, "от руки")
    chat = {"title": "новый", "owner_id": 1, "member_ids": [3, 5]}
    chat_id = (await control(running, client, "POST", "/changes/new_chat", chat))["result"]
    assert (await owner.result("im.dialog.get", {"DIALOG_ID": f"chat{chat_id}"}))["user_counter"] == 3
    await control(running, client, "POST", "/changes/remove_member", {"chat_id": chat_id, "user_id": 3})
    assert await owner.result("im.chat.user.list", {"CHAT_ID": chat_id}) == [1, 5]


async def test_the_truth_is_what_a_walk_through_the_portal_finds(
    running: Running, client: httpx.AsyncClient, employee: Rest
) -> None:
    chats = await control(running, client, "GET", "/truth/1/chats")
    text = (await client.get(f"{running.control}/truth/1/messages")).text
    messages = [json.loads(line) for line in text.split("\n")[:-1]]
    assert len(messages) == sum(chat["visible_messages"] for chat in chats)
    rows = (await employee.result("im.recent.list", {"LIMIT": 200}))["items"]
    assert {row["chat_id"] for row in rows} == {chat["id"] for chat in chats}
    for chat in chats:
        data = await employee.result("im.dialog.get", {"DIALOG_ID": chat["dialog_id"]})
        assert (data["message_count"], data["last_message_id"]) == (chat["message_count"], chat["last_message_id"])


async def test_the_overview_counts_requests_and_shows_no_secret(
    running: Running, client: httpx.AsyncClient, owner: Rest
) -> None:
    await owner.result("batch", {"cmd": {"a": "server.time", "b": "server.time"}})
    await owner.error("nope")
    overview = await control(running, client, "GET", "/truth")
    statistics = overview["statistics"]
    assert statistics["requests"] == {"batch": 1, "nope": 1}
    assert statistics["commands"] == {"server.time": 2}
    assert statistics["batch_sizes"] == {"2": 1}
    assert statistics["errors"] == {"ERROR_METHOD_NOT_FOUND": 1}
    assert overview["counts"]["messages"] == running.portal.count_messages()
    assert not any(webhook.secret in json.dumps(overview) for webhook in running.portal.webhooks.values())


async def test_settings_and_faults_are_switched_while_it_runs(
    running: Running, client: httpx.AsyncClient, owner: Rest
) -> None:
    settings = {"bucket": {"capacity": 1, "drain_per_s": 0}, "auth_status": 403, "speed": 10}
    assert (await control(running, client, "PATCH", "/settings", settings))["speed"] == 10
    await owner.result("server.time")
    assert await owner.error("server.time") == (503, "QUERY_LIMIT_EXCEEDED")
    await control(running, client, "PATCH", "/settings", {"bucket": None})
    await control(running, client, "POST", "/faults", {"kind": "server_error", "methods": "server.*", "count": 5})
    assert await owner.error("server.time") == (500, "INTERNAL_SERVER_ERROR")
    await control(running, client, "DELETE", "/faults")
    await owner.result("server.time")


async def test_webhooks_are_issued_into_private_files_and_revoked(running: Running, client: httpx.AsyncClient) -> None:
    issued = Path((await control(running, client, "POST", "/webhooks", {"user_id": 3, "scopes": ["im"]}))["url_file"])
    mode, url = await asyncio.to_thread(lambda: (issued.stat().st_mode, issued.read_text(encoding="utf-8")))
    assert mode & 0o777 == 0o600
    rest = Rest(client, url)
    assert await rest.result("scope") == ["im"]
    assert await control(running, client, "DELETE", "/webhooks/3") == {"revoked": 1}
    assert await rest.error("scope") == (401, "INVALID_CREDENTIALS")


async def test_activity_goes_on_while_the_portal_is_read(
    running: Running, client: httpx.AsyncClient, owner: Rest
) -> None:
    await control(running, client, "POST", "/activity", {"rate_per_s": 400, "seed": 2})
    before = running.portal.last_message_id
    for _ in range(2000):
        await owner.result("im.recent.list", {"LIMIT": 5})
        if running.portal.last_message_id > before + 20:
            break
    done = (await control(running, client, "DELETE", "/activity"))["done"]
    assert done["post"] >= 20


async def test_wrong_control_requests_are_answered_with_a_sentence(running: Running, client: httpx.AsyncClient) -> None:
    async def refused(verb: str, path: str, body: Json) -> tuple[int, str]:
        answer = await client.request(verb, f"{running.control}{path}", json=body)
        return answer.status_code, answer.json()["error"]

    assert (await refused("POST", "/changes/explode", {}))[0] == 404
    assert await refused("POST", "/changes/delete", {"chat_id": 11, "message_id": 1}) == (
        404,
        "there is no message 1 in chat 11",
    )
    assert (await refused("POST", "/changes/delete", {"chat_id": 11}))[1].startswith(
        "missing a required argument: 'message_id'"
    )
    assert await refused("POST", "/changes/remove_chat", {"chat_id": "11"}) == (400, "chat_id must be int")
    assert (await refused("POST", "/faults", {"kind": "fire"}))[0] == 400
    assert (await refused("PATCH", "/settings", {"speed": 2, "bucket": "wide"}))[0] == 400
    assert running.board.clock.speed == 1
    assert (await refused("GET", "/truth/999/chats", None))[0] == 404
    assert (await refused("POST", "/webhooks", {"user_id": 4}))[0] == 400
    assert (await refused("POST", "/faults", [1])) == (400, "the body must be a JSON object")
