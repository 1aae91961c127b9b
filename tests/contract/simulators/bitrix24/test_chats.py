"""The recent list, who sees what, and the members of chats."""

from tests.contract.simulators.bitrix24.helpers import Json, Rest

from chatferry.simulators.bitrix24 import Portal, Running


async def all_recent(rest: Rest, limit: int, **params: Json) -> tuple[list[Json], int]:
    """Unique rows, and how many came twice."""
    rows: dict[Json, Json] = {}
    offset, came = 0, 0
    while True:
        page = await rest.result("im.recent.list", {"OFFSET": offset, "LIMIT": limit, **params})
        came += len(page["items"])
        rows |= {row["id"]: row for row in page["items"]}
        offset += limit
        if not page["hasMore"]:
            return list(rows.values()), came - len(rows)


async def test_the_owner_sees_every_chat_and_some_rows_come_twice(owner: Rest, portal: Portal) -> None:
    rows, repeated = await all_recent(owner, 7)
    assert {row["chat_id"] for row in rows} == set(portal.chats)
    assert repeated > 0


async def test_the_owner_gets_private_dialogs_of_others_as_chats(owner: Rest, portal: Portal) -> None:
    rows, _ = await all_recent(owner, 200)
    private = [row for row in rows if row["chat"].get("message_type") == "P"]
    wanted = [chat.id for chat in portal.chats.values() if chat.message_type == "P"]
    assert sorted(row["chat_id"] for row in private) == sorted(wanted)
    for row in private:
        assert (row["id"], row["type"]) == (f"chat{row['chat_id']}", "chat")
        page = await owner.result("im.dialog.messages.get", {"DIALOG_ID": row["id"]})
        assert page["chat_id"] == row["chat_id"]
        data = await owner.result("im.dialog.get", {"DIALOG_ID": row["id"]})
        assert (data["message_type"], data["dialog_id"]) == ("P", row["id"])
        members = await owner.result("im.chat.user.list", {"CHAT_ID": row["chat_id"]})
        assert sorted(members) == sorted(portal.chats[row["chat_id"]].members)


async def test_an_employee_sees_own_chats_only(employee: Rest, portal: Portal) -> None:
    rows, _ = await all_recent(employee, 10)
    assert {row["chat_id"] for row in rows} == {chat.id for chat in portal.chats.values() if 1 in chat.members}
    foreign = next(chat for chat in portal.chats.values() if 1 not in chat.members)
    for method, params in (
        ("im.dialog.get", {"DIALOG_ID": f"chat{foreign.id}"}),
        ("im.dialog.messages.get", {"DIALOG_ID": f"chat{foreign.id}"}),
        ("im.dialog.users.list", {"DIALOG_ID": f"chat{foreign.id}"}),
        ("im.chat.user.list", {"CHAT_ID": foreign.id}),
        ("im.dialog.get", {"DIALOG_ID": "chat999999"}),
    ):
        assert await employee.error(method, params) == (403, "ACCESS_ERROR")


async def test_a_private_dialog_of_ones_own_is_named_by_the_other_user(employee: Rest, running: Running) -> None:
    chat_id = running.changes.new_chat("", 1, [5], "P")
    running.changes.post(chat_id, 5, "[B]hello[/B] there")
    rows, _ = await all_recent(employee, 200)
    row = next(row for row in rows if row["chat_id"] == chat_id)
    assert (row["id"], row["type"], row["user"]["id"]) == (5, "user", 5)
    assert len(row["chat"]) == 3
    assert row["message"]["text"] == "hello there"
    for dialog in (5, "5", f"chat{chat_id}"):
        data = await employee.result("im.dialog.get", {"DIALOG_ID": dialog})
        assert (data["id"], data["dialog_id"], data["message_type"]) == (chat_id, "5", "P")


async def test_the_filters_of_the_recent_list_choose_kinds(owner: Rest, portal: Portal) -> None:
    async def kinds(**params: Json) -> set[str]:
        rows, _ = await all_recent(owner, 200, **params)
        return {row["chat"]["message_type"] for row in rows}

    everything = {chat.message_type for chat in portal.chats.values()}
    assert everything == {"P", "C", "O", "N", "X"}
    assert await kinds() == everything
    assert await kinds(SKIP_DIALOG="Y") == everything - {"P"}
    assert await kinds(SKIP_CHAT="Y") == {"P"}
    assert await kinds(ONLY_CHANNEL="Y") == {"N"}


async def test_the_chat_of_a_group_is_found_by_the_groups_number(owner: Rest, portal: Portal) -> None:
    chat = next(chat for chat in portal.chats.values() if chat.entity_type == "SONET_GROUP")
    assert (await owner.result("im.dialog.get", {"DIALOG_ID": f"sg{chat.entity_id}"}))["id"] == chat.id
    assert await owner.error("im.dialog.get", {"DIALOG_ID": "sg999999"}) == (403, "ACCESS_ERROR")


async def test_a_hidden_chat_is_missing_in_the_recent_list_alone(running: Running, employee: Rest) -> None:
    running.changes.hide_chat(11, 1)
    rows, _ = await all_recent(employee, 200)
    assert 11 not in {row["chat_id"] for row in rows}
    assert (await employee.result("im.dialog.get", {"DIALOG_ID": "chat11"}))["id"] == 11


async def test_a_chat_that_vanished_is_refused(running: Running, owner: Rest) -> None:
    running.changes.remove_chat(13)
    assert await owner.error("im.dialog.messages.get", {"DIALOG_ID": "chat13"}) == (403, "ACCESS_ERROR")


async def test_dismissed_members_are_in_one_list_of_members_only(running: Running, owner: Rest) -> None:
    chat = next(chat for chat in running.portal.chats.values() if len(chat.members) > 3 and not chat.general)
    gone = next(user for user in chat.members if user != chat.owner_id)
    running.changes.dismiss(gone)
    assert gone in await owner.result("im.chat.user.list", {"CHAT_ID": chat.id})
    active = await owner.result("im.dialog.users.list", {"DIALOG_ID": f"chat{chat.id}", "LIMIT": 200})
    assert {user["id"] for user in active} == {user for user in chat.members if running.portal.users[user].active}


async def test_members_are_paged_by_offset_or_by_last_id(owner: Rest) -> None:
    params: Json = {"DIALOG_ID": "chat11", "LIMIT": 10}
    first = (await owner.answer("im.dialog.users.list", params)).json()
    assert first["next"] == 10
    assert first["total"] > 20
    second = (await owner.answer("im.dialog.users.list", params | {"OFFSET": 10})).json()
    after = (await owner.answer("im.dialog.users.list", params | {"LAST_ID": first["result"][-1]["id"]})).json()
    assert after["result"] == second["result"]
    assert not {"next", "total"} & after.keys()


async def test_the_general_chat_does_not_tell_its_members(owner: Rest) -> None:
    assert await owner.error("im.chat.user.list", {"CHAT_ID": 11}) == (403, "ACCESS_ERROR")


async def test_users_by_id_come_with_bots_as_a_map_or_a_list(owner: Rest, portal: Portal) -> None:
    bot = next(user.id for user in portal.users.values() if user.bot)
    as_map = await owner.result("im.user.list.get", {"ID": [1, bot, 999999]})
    assert as_map[str(bot)]["bot"] is True
    assert as_map["999999"] is None
    for ids in ([1, bot, 999999], {"0": 1, "1": bot}, f"[1,{bot}]"):
        as_list = await owner.result("im.user.list.get", {"ID": ids, "RESULT_TYPE": "array"})
        assert [user["id"] for user in as_list] == [1, bot]
    assert await owner.result("im.user.list.get", {"ID": []}) == []
    assert await owner.error("im.user.list.get", {"ID": ["x"]}) == (400, "INVALID_FORMAT")
