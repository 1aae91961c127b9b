"""Reads as the platform lets them: token, ids, rights, pages, both spellings of nothing."""

import asyncio

import httpx
import pytest
from tests.contract.simulators.max.helpers import Max, chats_of, until

from chatferry.simulators.max import BOT_ID, Kind, Running


async def test_only_the_raw_token_in_the_header_is_taken(api: Max, client: httpx.AsyncClient) -> None:
    refused = [
        await client.get(f"{api.url}/me"),
        await client.get(f"{api.url}/me", headers={"Authorization": f"Bearer {api.token}"}),
        await client.get(f"{api.url}/me", headers=[(b"Authorization", "токен".encode())]),
        await client.get(f"{api.url}/me", params={"access_token": api.token}),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(401, "verify.token")}
    assert (await api.result("/me"))["user_id"] == BOT_ID


async def test_a_wrong_token_may_be_refused_with_403_and_the_query_token_be_taken(
    api: Max, client: httpx.AsyncClient, running: Running
) -> None:
    running.world.change_settings({"api": {"auth_status": 403, "query_token": True}})
    assert await Max(client, api.url, "wrong").error("/me") == (403, "verify.token")
    assert (await client.get(f"{api.url}/me", params={"access_token": api.token})).status_code == 200


async def test_a_count_includes_the_bot_and_moves_with_every_change(api: Max, running: Running) -> None:
    chat, changes = chats_of(running)[3], running.world.changes
    before = await api.count(chat.id)
    assert before == len(chat.members)
    assert BOT_ID in chat.members
    new = changes.add_user(chat.id)
    assert await api.count(chat.id) == before + 1
    changes.remove_user(chat.id, new)
    changes.move_silently(chat.id, 5)
    assert await api.count(chat.id) == before + 5


async def test_ids_are_negative_but_those_of_dialogs_and_some_are_beyond_a_double(running: Running, api: Max) -> None:
    chats = running.world.platform.chats
    assert {chat.kind is Kind.DIALOG for chat in chats.values() if chat.id > 0} == {True}
    far = [chat_id for chat_id in chats if chat_id < -(2**53)]
    assert far
    assert (await api.result(f"/chats/{far[0]}"))["chat_id"] == far[0]


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("/chats/-5", (404, "not.found")),
        ("/chats/9223372036854775807", (404, "not.found")),
        ("/chats/9223372036854775808", (400, "proto.payload")),
        ("/chats/@name", (404, "not.found")),
        ("/chats", (404, "not.found")),
        ("/nowhere", (404, "not.found")),
    ],
)
async def test_what_is_not_there_is_refused(api: Max, path: str, refusal: tuple[int, str]) -> None:
    assert await api.error(path) == refusal


async def test_verbs_that_a_path_has_not_are_refused(api: Max) -> None:
    assert await api.error("/me", "DELETE") == (405, "method.not.allowed")
    assert await api.error("/updates", "POST") == (405, "method.not.allowed")


@pytest.mark.parametrize(("mode", "refusal"), [("denied", (403, "chat.denied")), ("not_found", (404, "not.found"))])
async def test_a_chat_that_the_bot_left_may_be_refused(
    api: Max, running: Running, mode: str, refusal: tuple[int, str]
) -> None:
    chat = chats_of(running)[0]
    running.world.change_settings({"api": {"removed_reads": mode}})
    running.world.changes.remove_bot(chat.id)
    assert await api.error(f"/chats/{chat.id}") == refusal
    assert await api.error(f"/chats/{chat.id}/members/me") == (403, "chat.denied")
    running.world.changes.add_bot(chat.id)
    assert (await api.result(f"/chats/{chat.id}"))["status"] == "active"


async def test_without_the_admin_right_there_are_counts_but_no_members(api: Max, running: Running) -> None:
    chat = chats_of(running)[-1]
    running.world.changes.set_admin(chat.id, False)
    read = await api.result(f"/chats/{chat.id}")
    assert read["participants_count"] == chat.count
    assert not read.keys() & {"owner_id", "participants"}
    for part in ("members", "members/admins"):
        assert await api.error(f"/chats/{chat.id}/{part}") == (403, "chat.denied")
    assert (await api.result(f"/chats/{chat.id}/members/me"))["is_admin"] is False


async def test_all_pages_of_members_together_are_the_count_although_people_come_and_go(
    api: Max, running: Running
) -> None:
    chat, seen, marker = chats_of(running)[0], [], None
    while True:
        params = {"count": 100} if marker is None else {"count": 100, "marker": marker}
        page = await api.result(f"/chats/{chat.id}/members", params=params)
        seen += [member["user_id"] for member in page["members"]]
        marker = page.get("marker")
        if marker is None:
            break
        running.world.changes.remove_user(chat.id, seen.pop(10))
    assert sorted(seen) == sorted(chat.members)
    assert len(seen) > 200


async def test_members_asked_for_by_id_come_without_pages(api: Max, running: Running) -> None:
    chat = chats_of(running)[0]
    wanted = [*list(chat.members)[5:30], 1]
    params = {"user_ids": ",".join(map(str, wanted)), "count": 2, "marker": 7}
    page = await api.result(f"/chats/{chat.id}/members", params=params)
    assert [member["user_id"] for member in page["members"]] == wanted[:-1]
    assert "marker" not in page


async def test_administrators_are_the_owner_and_the_bot(api: Max, running: Running) -> None:
    chat = chats_of(running)[0]
    admins = (await api.result(f"/chats/{chat.id}/members/admins"))["members"]
    assert {admin["user_id"] for admin in admins} == {BOT_ID, chat.owner_id}


@pytest.mark.parametrize("query", ["count=0", "count=101", "count=x", "marker=1.5", "user_ids=1,,2"])
async def test_absurd_pages_are_refused(api: Max, running: Running, query: str) -> None:
    chat = chats_of(running)[0]
    assert await api.error(f"/chats/{chat.id}/members?{query}") == (400, "proto.payload")


async def test_nothing_is_null_or_left_out_as_it_was_set(api: Max, running: Running) -> None:
    chats = [chat for chat in chats_of(running) if chat.description is None]
    spellings: dict[str, set[bool]] = {}
    for mode in ("null", "absent", "mixed"):
        running.world.change_settings({"api": {"nothing": mode}})
        spellings[mode] = {"description" in await api.result(f"/chats/{chat.id}") for chat in chats}
    assert spellings == {"null": {True}, "absent": {False}, "mixed": {True, False}}


async def test_a_delayed_answer_says_what_was_true_when_it_was_asked(api: Max, running: Running) -> None:
    chat = chats_of(running)[0]
    before = chat.count
    running.world.change_settings({"api": {"latency_s": 0.3}})
    asked = asyncio.create_task(api.count(chat.id))
    await until(lambda: running.world.traffic.summary()["in_flight_now"] == 1)
    running.world.changes.add_user(chat.id)
    assert await asked == before
    assert await api.count(chat.id) == before + 1


def test_the_token_is_not_shown(running: Running) -> None:
    assert "contract-token" not in repr(running)
