"""`batch` over the wire."""

from tests.contract.simulators.bitrix24.helpers import Rest

from chatferry.simulators.bitrix24 import Portal


async def test_a_chain_of_references_walks_a_chat_in_one_request(owner: Rest, portal: Portal) -> None:
    chat = max(portal.chats.values(), key=lambda chat: len(chat.log))
    page = f"im.dialog.messages.get?DIALOG_ID=chat{chat.id}&LIMIT=50"
    cmd = {"c0": page}
    for number in range(1, 5):
        cmd[f"c{number}"] = f"{page}&LAST_ID=$result[c{number - 1}][messages][49][id]"
    result = (await owner.result("batch", {"cmd": cmd, "halt": 0}))["result"]
    seen = [message["id"] for key in cmd for message in result[key]["messages"]]
    assert seen == list(reversed(chat.log.ids[-250:]))


async def test_a_reference_to_nothing_is_an_empty_value(owner: Rest) -> None:
    cmd = {"u": "user.get?FILTER[ID]=$result[none][0][ID]", "d": "im.dialog.get?DIALOG_ID=$result[u][0][NOPE]"}
    batch = await owner.result("batch", {"cmd": cmd})
    assert batch["result"]["u"] == []
    assert batch["result_error"]["d"]["error"] == "DIALOG_ID_EMPTY"


async def test_a_reference_can_stand_inside_a_text(owner: Rest) -> None:
    both = "user.get?FILTER[@ID][]=$result[u][0][ID]&FILTER[@ID][]=1$result[u][0][ID]"
    batch = await owner.result("batch", {"cmd": {"u": "user.get?FILTER[ID]=5", "v": both}})
    assert [row["ID"] for row in batch["result"]["v"]] == ["5", "15"]


async def test_halt_leaves_the_rest_in_no_map(owner: Rest) -> None:
    cmd = {"a": "profile", "b": "nope", "c": "profile"}
    halted = await owner.result("batch", {"cmd": cmd, "halt": "false"})
    assert (list(halted["result"]), list(halted["result_error"])) == (["a"], ["b"])
    whole = await owner.result("batch", {"cmd": cmd, "halt": 0})
    assert (list(whole["result"]), list(whole["result_error"])) == (["a", "c"], ["b"])


async def test_numeric_keys_become_lists_with_holes_closed(owner: Rest) -> None:
    batch = await owner.result("batch", {"cmd": ["server.time", "nope", "user.admin"]})
    assert batch["result"][1] is True
    assert len(batch["result"]) == 2


async def test_commands_beyond_fifty_are_refused_one_by_one(owner: Rest) -> None:
    cmd = {f"c{number}": "server.time" for number in range(53)}
    batch = await owner.result("batch", {"cmd": cmd})
    assert len(batch["result"]) == 50
    assert {error["error"] for error in batch["result_error"].values()} == {"ERROR_BATCH_LENGTH_EXCEEDED"}
    assert list(batch["result_error"]) == ["c50", "c51", "c52"]


async def test_a_batch_in_a_batch_and_an_empty_one(owner: Rest) -> None:
    nested = await owner.result("batch", {"cmd": {"b": "batch?cmd[a]=profile"}})
    assert nested["result_error"]["b"]["error"] == "ERROR_BATCH_METHOD_NOT_ALLOWED"
    empty = await owner.result("batch", {})
    assert set(map(str, empty.values())) == {"[]"}


async def test_form_encoded_commands_are_read_too(owner: Rest) -> None:
    answer = await owner.client.post(
        f"{owner.url}/batch", data={"halt": "0", "cmd[u]": "user.get?FILTER%5BID%5D=1", "cmd[t]": "server.time"}
    )
    result = answer.json()["result"]
    assert result["result"]["u"][0]["ID"] == "1"
    assert result["result_total"] == {"u": 1}
