"""Walking the messages of a dialog, with every oddity of its pages."""

from tests.contract.simulators.bitrix24.helpers import Json, Rest

from chatferry.simulators.bitrix24 import Portal, Running

METHOD = "im.dialog.messages.get"


def largest(portal: Portal) -> int:
    return max(portal.chats.values(), key=lambda chat: len(chat.log)).id


def ids(page: Json) -> list[int]:
    return [message["id"] for message in page["messages"]]


async def walk(rest: Rest, dialog: str, first: Json) -> list[Json]:
    messages = list(first["messages"])
    while True:
        cursor = min(message["id"] for message in messages)
        page = await rest.result(METHOD, {"DIALOG_ID": dialog, "LIMIT": 50, "LAST_ID": cursor})
        if not page["messages"]:
            return messages
        messages += page["messages"]


async def test_walking_backward_gives_every_message_once(owner: Rest, portal: Portal) -> None:
    chat = portal.chats[largest(portal)]
    dialog = f"chat{chat.id}"
    first = await owner.result(METHOD, {"DIALOG_ID": dialog, "LIMIT": 50})
    assert ids(first) == list(reversed(chat.log.ids[-50:]))
    messages = await walk(owner, dialog, first)
    assert sorted(message["id"] for message in messages) == list(chat.log.ids)
    data = await owner.result("im.dialog.get", {"DIALOG_ID": dialog})
    assert (data["message_count"], data["last_message_id"]) == (len(messages), chat.log.last_id)


async def test_the_limit_is_twenty_unless_given_and_fifty_at_most(owner: Rest, portal: Portal) -> None:
    dialog = f"chat{largest(portal)}"
    assert len((await owner.result(METHOD, {"DIALOG_ID": dialog}))["messages"]) == 20
    assert len((await owner.result(METHOD, {"DIALOG_ID": dialog, "LIMIT": 500}))["messages"]) == 50


async def test_walking_forward_wins_over_backward_and_comes_in_no_order(owner: Rest, portal: Portal) -> None:
    chat = portal.chats[largest(portal)]
    params = {"DIALOG_ID": f"chat{chat.id}", "FIRST_ID": chat.log.ids[9], "LAST_ID": 1, "LIMIT": 20}
    page = ids(await owner.result(METHOD, params))
    assert sorted(page) == list(chat.log.ids[10:30])
    assert page not in (sorted(page), sorted(page, reverse=True))


async def test_first_id_zero_adds_the_last_messages_to_the_first_ones(owner: Rest, portal: Portal) -> None:
    chat = portal.chats[largest(portal)]
    page = ids(await owner.result(METHOD, {"DIALOG_ID": f"chat{chat.id}", "FIRST_ID": 0, "LIMIT": 5}))
    assert sorted(page) == [*chat.log.ids[:5], *chat.log.ids[-2:]]


async def test_a_few_unread_messages_make_the_first_page_longer_than_its_limit(owner: Rest, portal: Portal) -> None:
    chat = portal.chats[largest(portal)]
    chat.unread_from[max(portal.users)] = chat.log.ids[-7]
    page = (await owner.result(METHOD, {"DIALOG_ID": f"chat{chat.id}", "LIMIT": 20}))["messages"]
    assert len(page) == 27
    assert [message["unread"] for message in page] == [True] * 7 + [False] * 20


async def test_many_unread_messages_push_the_newest_off_the_first_page(owner: Rest, portal: Portal) -> None:
    chat = portal.chats[largest(portal)]
    chat.unread_from[max(portal.users)] = chat.log.ids[-90]
    dialog = f"chat{chat.id}"
    first = await owner.result(METHOD, {"DIALOG_ID": dialog, "LIMIT": 50})
    assert chat.log.last_id not in ids(first)
    newer = await owner.result(METHOD, {"DIALOG_ID": dialog, "LIMIT": 50, "FIRST_ID": max(ids(first))})
    assert max(ids(newer)) == chat.log.last_id
    assert (await owner.result("im.dialog.get", {"DIALOG_ID": dialog}))["counter"] == 90


async def test_who_joined_a_chat_with_hidden_history_sees_no_older_message(employee: Rest, portal: Portal) -> None:
    chat = portal.chats[11]
    chat.members[1] = chat.log.ids[10]
    dialog = "chat11"
    first = await employee.result(METHOD, {"DIALOG_ID": dialog, "LIMIT": 50})
    messages = await walk(employee, dialog, first)
    assert min(message["id"] for message in messages) == chat.log.ids[10]
    assert (await employee.result("im.dialog.get", {"DIALOG_ID": dialog}))["message_count"] == len(chat.log)


async def test_a_page_lists_its_own_authors_and_files_only(owner: Rest, portal: Portal) -> None:
    for chat in portal.chats.values():
        page = await owner.result(METHOD, {"DIALOG_ID": f"chat{chat.id}", "LIMIT": 10})
        authors = {message["author_id"] for message in page["messages"]} - {0}
        assert authors <= {user["id"] for user in page["users"]}
        named = [file for message in page["messages"] for file in (message["params"] or {}).get("FILE_ID", [])]
        assert sorted(named) == sorted(file["id"] for file in page["files"])


async def test_every_kind_of_message_is_there(owner: Rest, portal: Portal) -> None:
    dialog = f"chat{largest(portal)}"
    first = await owner.result(METHOD, {"DIALOG_ID": dialog, "LIMIT": 50})
    messages = await walk(owner, dialog, first)
    keys = {key for message in messages for key in message["params"] or ()}
    assert keys >= {"REPLY_ID", "IS_EDITED", "IS_DELETED", "FILE_ID", "LIKE", "CODE"}
    assert all(message["uuid"] is None for message in messages if message["author_id"] == 0)
    assert any(message["params"] == [] for message in messages)


async def test_an_erased_message_is_gone_and_a_deleted_one_keeps_its_place(running: Running, owner: Rest) -> None:
    log = running.portal.chats[11].log
    erased, deleted, edited = log.ids[-1], log.ids[-2], log.ids[-3]
    count = len(log)
    running.changes.erase(11, erased)
    running.changes.delete(11, deleted)
    running.changes.edit(11, edited, "new text")
    page = {m["id"]: m for m in (await owner.result(METHOD, {"DIALOG_ID": "chat11"}))["messages"]}
    assert erased not in page
    assert page[deleted]["params"] == {"IS_DELETED": "Y"}
    assert (page[edited]["text"], page[edited]["params"]["IS_EDITED"]) == ("new text", "Y")
    data = await owner.result("im.dialog.get", {"DIALOG_ID": "chat11"})
    assert (data["message_count"], data["last_message_id"]) == (count - 1, deleted)
