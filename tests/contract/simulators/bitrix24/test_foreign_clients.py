"""The published clients, unmodified, find what they expect of a portal."""

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from chatferry.simulators.bitrix24 import Fault, FaultKind, Portal, Running

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from b24pysdk import BitrixWebhook, Client
    from b24pysdk.errors import BitrixAPIError
    from fast_bitrix24 import BitrixAsync


def listed(portal: Portal) -> set[str]:
    users = portal.users.values()
    return {str(user.id) for user in users if user.listed and not user.bot and not user.extranet}


@pytest.fixture
def fast(running: Running) -> Any:
    return BitrixAsync(running.webhook_url(max(running.portal.users)), verbose=False)


async def test_fast_bitrix24_gets_all_users(fast: Any, portal: Portal) -> None:
    users = await fast.get_all("user.get")
    assert {user["ID"] for user in users} == listed(portal)
    active = await fast.get_all("user.get", {"FILTER": {"ACTIVE": True}})
    assert {user["ID"] for user in active} < listed(portal)


async def test_fast_bitrix24_reads_chats_by_batches(fast: Any, portal: Portal) -> None:
    dialogs = [f"chat{chat}" for chat in portal.chats]
    chats = await fast.get_by_ID("im.dialog.get", dialogs, ID_field_name="DIALOG_ID")
    assert {chat: data["message_count"] for chat, data in chats.items()} == {
        f"chat{chat.id}": len(chat.log) for chat in portal.chats.values()
    }
    pages = await fast.call("im.dialog.messages.get", [{"DIALOG_ID": dialog, "LIMIT": 50} for dialog in dialogs])
    assert [page["chat_id"] for page in pages] == list(portal.chats)


async def test_fast_bitrix24_sends_a_batch_of_its_user(fast: Any) -> None:
    cmd = {"u": "user.get?FILTER[ID]=1", "d": "im.dialog.get?DIALOG_ID=chat11"}
    result = await fast.call_batch({"halt": 0, "cmd": cmd})
    assert result["u"][0]["ID"] == "1"
    assert result["d"]["id"] == 11


async def test_fast_bitrix24_goes_on_after_limit_answers(fast: Any, running: Running, portal: Portal) -> None:
    running.faults.add(Fault(FaultKind.QUERY_LIMIT, count=1))
    assert {user["ID"] for user in await fast.get_all("user.get")} == listed(portal)
    assert running.statistics.faults[FaultKind.QUERY_LIMIT] == 1


@pytest.fixture
def sdk(running: Running, monkeypatch: pytest.MonkeyPatch) -> Any:
    """It speaks HTTPS only and builds the URL itself; the CA reaches it the way of its HTTP library."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.ca_file))
    webhook = running.board.webhook(max(running.portal.users))
    domain = str(running.https).removeprefix("https://")
    return BitrixWebhook(domain=domain, webhook_token=webhook.key)


async def in_thread(call: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.to_thread(call, *args)


async def test_b24pysdk_lists_all_users_in_both_its_ways(sdk: Any, portal: Portal) -> None:
    users = (await in_thread(sdk.call_list, "user.get", {}))["result"]
    assert {user["ID"] for user in users} == listed(portal)
    fast = await in_thread(lambda: list(sdk.call_list_fast("user.get", {})["result"]))
    assert {user["ID"] for user in fast} == listed(portal)


async def test_b24pysdk_sends_batches_with_names_and_without(sdk: Any, portal: Portal) -> None:
    methods = {"u": ("user.get", {"FILTER": {"ID": [1, 3]}}), "m": ("im.dialog.messages.get", {"DIALOG_ID": "chat11"})}
    named = (await in_thread(sdk.call_batch, methods))["result"]
    assert named["result"]["m"]["chat_id"] == 11
    assert named["result_total"] == {"u": 2}
    unnamed = (await in_thread(sdk.call_batch, list(methods.values())))["result"]
    assert unnamed["result"][1]["chat_id"] == 11
    many = {f"k{chat}": ("im.dialog.get", {"DIALOG_ID": f"chat{chat}"}) for chat in portal.chats}
    result = (await in_thread(sdk.call_batches, many))["result"]["result"]
    assert {data["id"] for data in result.values()} == set(portal.chats)


async def test_b24pysdk_reads_messages_through_its_typed_client(sdk: Any) -> None:
    page = await in_thread(lambda: Client(sdk).im.dialog.messages.get("chat11").result)
    assert page["chat_id"] == 11
    assert page["messages"]


async def test_b24pysdk_reports_a_refused_dialog_as_an_api_error(sdk: Any) -> None:
    with pytest.raises(BitrixAPIError):
        await in_thread(sdk.call_method, "im.dialog.get", {"DIALOG_ID": "chat999999"})
