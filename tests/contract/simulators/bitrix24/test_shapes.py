"""Answers have the keys and JSON types of the documentation's examples."""

import pytest
from tests.contract.simulators.bitrix24.helpers import Json, Rest, fixture
from tests.contract.simulators.shapes import differences

from chatferry.simulators.bitrix24 import Portal

PAGED = frozenset({"next", "total", "operating_reset_at"})
CALLS: list[tuple[str, Json, frozenset[str]]] = [
    ("scope", {}, PAGED),
    ("profile", {}, PAGED),
    ("method.get", {"name": "im.dialog.get"}, PAGED),
    ("user.admin", {}, PAGED),
    ("server.time", {}, PAGED),
    ("methods", {}, PAGED),
    ("user.get", {}, PAGED | {"TIMESTAMP_X", "LAST_ACTIVITY_DATE"}),
    ("im.user.list.get", {"ID": [1, 5], "RESULT_TYPE": "array"}, PAGED | {"phones"}),
    ("im.dialog.users.list", {"DIALOG_ID": "chat11"}, PAGED | {"phones"}),
]


@pytest.mark.parametrize(("method", "params", "free"), CALLS, ids=[call[0] for call in CALLS])
async def test_an_answer_has_the_shape_of_the_documented_one(
    owner: Rest, method: str, params: Json, free: frozenset[str]
) -> None:
    ours = (await owner.answer(method, params)).json()
    assert differences(ours, fixture(method), free) == []


async def test_a_page_of_messages_has_the_documented_shape(owner: Rest, portal: Portal) -> None:
    """A page that has a file and a liked message, as the example has."""
    free = PAGED | {"phones", "image", "mediaUrl", "params"}
    image = next(file for file in portal.files.values() if file.name.endswith(("png", "jpg")))
    position = next(
        position
        for position in range(len(portal.chats[image.chat_id].log))
        if image.id in portal.chats[image.chat_id].log.people_and_files(position, position + 1)[1]
    )
    cursor = portal.chats[image.chat_id].log.ids[position] + 1
    params = {"DIALOG_ID": f"chat{image.chat_id}", "LAST_ID": cursor, "LIMIT": 1}
    ours = (await owner.answer("im.dialog.messages.get", params)).json()
    assert ours["result"]["files"]
    assert differences(ours, fixture("im.dialog.messages.get"), free) == []


async def test_the_data_of_an_object_chat_has_the_documented_shape(owner: Rest, portal: Portal) -> None:
    chat = next(chat for chat in portal.chats.values() if chat.entity_type == "CRM")
    ours = (await owner.answer("im.dialog.get", {"DIALOG_ID": f"chat{chat.id}"})).json()
    assert differences(ours, fixture("im.dialog.get"), PAGED) == []
    pair = {"ENTITY_TYPE": chat.entity_type, "ENTITY_ID": chat.entity_id}
    assert differences((await owner.answer("im.chat.get", pair)).json(), fixture("im.chat.get"), PAGED) == []


async def test_members_of_a_chat_come_as_integers(owner: Rest) -> None:
    ours = (await owner.answer("im.chat.user.list", {"CHAT_ID": 13})).json()
    assert differences(ours, fixture("im.chat.user.list"), PAGED) == []


async def test_both_kinds_of_recent_rows_have_the_documented_shape(employee: Rest) -> None:
    ours = (await employee.answer("im.recent.list", {"LIMIT": 200})).json()
    theirs = fixture("im.recent.list")
    assert differences(ours, theirs, PAGED | {"items", "copilot", "time"}) == []
    assert ours["total"] == -1
    free = PAGED | {"phones", "last_activity_date"}
    for wanted in theirs["result"]["items"]:
        row = next(row for row in ours["result"]["items"] if row["type"] == wanted["type"])
        assert type(row["id"]) is type(wanted["id"])
        assert differences(row, wanted, free | {"uuid"}) == []


async def test_a_batch_has_the_documented_shape(owner: Rest) -> None:
    cmd = {"get_user": "user.current", "get_department": "user.get?FILTER[ID]=1"}
    ours = (await owner.answer("batch", {"cmd": cmd})).json()
    free = PAGED | {"get_user", "get_department", "operating"}
    assert differences(ours, fixture("batch"), free) == []
    assert ours["result"]["result_error"] == []
    assert ours["result"]["result_total"] == {"get_department": 1}


async def test_a_batch_that_fails_whole_has_the_documented_shape(owner: Rest) -> None:
    ours = await owner.result("batch", {"cmd": {"get_user": "nope", "get_department": "crm.nope"}})
    wanted = fixture("_errors")["batch"]["body"]["result"]
    assert {key: value for key, value in ours.items() if value == []} == {
        key: value for key, value in wanted.items() if value == []
    }
    assert differences(ours["result_error"], wanted["result_error"], frozenset()) == []


@pytest.mark.parametrize(
    "method", ["im.dialog.get", "im.dialog.messages.get", "im.dialog.users.list", "im.chat.user.list"]
)
async def test_a_missing_dialog_is_refused_as_documented(owner: Rest, method: str) -> None:
    wanted = fixture("_errors")[method]
    answer = await owner.answer(method)
    assert answer.status_code in wanted["http_status_shown"]
    assert answer.json() == wanted["body"]
