"""Paths, encodings, the order of checks, credentials, HTTPS."""

import ssl

import httpx
import pytest
from tests.contract.simulators.bitrix24.helpers import Rest

from chatferry.simulators.bitrix24 import Portal, PortalSettings, Quirks, Running, new_webhook, serve


async def test_all_encodings_of_nested_parameters_mean_the_same(owner: Rest, client: httpx.AsyncClient) -> None:
    url = f"{owner.url}/user.get"
    brackets = {"FILTER[@ID][0]": "3", "FILTER[@ID][1]": "5", "FILTER[>ID]": "3"}
    answers = [
        await client.get(url, params=brackets),
        await client.post(url, data=brackets),
        await client.post(url, files={key: (None, value) for key, value in brackets.items()}),
        await client.post(url, json={"FILTER": {"@ID": [3, 5], ">ID": 3}}),
        await client.post(url + ".json", params={"FILTER[ID]": "9"}, json={"FILTER": {"@ID": [3, 5], ">ID": "3"}}),
    ]
    assert [[row["ID"] for row in answer.json()["result"]] for answer in answers] == [["5"]] * 5


async def test_method_names_are_read_in_any_case(owner: Rest) -> None:
    assert (await owner.answer("Im.Dialog.GET.json", {"dialog_id": "chat11"})).status_code == 200


async def test_a_body_that_is_not_json_is_read_as_no_parameters(owner: Rest, client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post(f"{owner.url}/user.get", content=b'{"FILTER": ', headers=headers)
    assert answer.json()["total"] > 1


async def test_an_unknown_method_is_named_before_a_wrong_secret(running: Running, client: httpx.AsyncClient) -> None:
    wrong = Rest(client, f"{running.http}/rest/1/wrong")
    assert await wrong.error("no.such.method") == (404, "ERROR_METHOD_NOT_FOUND")
    assert await wrong.error("im.chat.message.list") == (404, "ERROR_METHOD_NOT_FOUND")
    assert await wrong.error("profile") == (401, "INVALID_CREDENTIALS")
    assert await wrong.error("batch") == (401, "INVALID_CREDENTIALS")
    assert (await client.get(f"{running.http}/rest/profile")).json()["error"] == "ERROR_METHOD_NOT_FOUND"


async def test_a_missing_scope_is_told_with_words_alone_and_without_them_in_a_batch(
    portal: Portal, running: Running, client: httpx.AsyncClient
) -> None:
    webhook = new_webhook(portal, 3, scopes=("im",))
    rest = Rest(client, f"{running.http}/rest/{webhook.key}")
    alone = await rest.answer("user.get")
    assert (alone.status_code, alone.json()["error"]) == (401, "insufficient_scope")
    assert alone.json()["error_description"]
    batch = await rest.result("batch", {"cmd": {"u": "user.get", "p": "profile"}})
    assert batch["result_error"] == {"u": {"error": "insufficient_scope", "error_description": ""}}
    assert await rest.result("method.get", {"name": "user.get"}) == {"isExisting": True, "isAvailable": False}
    assert await rest.result("method.get", {"name": "crm.nope"}) == {"isExisting": False, "isAvailable": False}
    assert await rest.result("scope") == ["im"]


async def test_a_dismissed_owner_cannot_be_logged_in(running: Running, employee: Rest) -> None:
    running.changes.dismiss(1)
    assert await employee.error("profile") == (401, "authorization_error")


async def test_the_status_of_refused_credentials_and_the_need_for_https_can_be_set(
    portal: Portal, client: httpx.AsyncClient
) -> None:
    async with serve(portal, PortalSettings(auth_status=403, https_required=True)) as strict:
        plain = Rest(client, strict.webhook_url(1))
        assert await plain.error("profile") == (400, "INVALID_REQUEST")
        trust = ssl.create_default_context(cafile=str(strict.ca_file))
        async with httpx.AsyncClient(verify=trust) as trusting:
            tls = Rest(trusting, strict.webhook_url(1, tls=True))
            assert (await tls.result("profile"))["ID"] == "1"
            wrong = Rest(trusting, f"{strict.https}/rest/1/wrong")
            assert await wrong.error("profile") == (403, "INVALID_CREDENTIALS")


async def test_who_does_not_trust_the_ca_gets_no_connection(running: Running) -> None:
    async with httpx.AsyncClient() as stranger:
        with pytest.raises(httpx.ConnectError):
            await stranger.get(f"{running.https}/rest/1/x/profile")


async def test_planning_name_is_served_where_the_portal_was_told_to(portal: Portal, client: httpx.AsyncClient) -> None:
    async with serve(portal, PortalSettings(quirks=Quirks(planning_message_list=True))) as running:
        rest = Rest(client, running.webhook_url(max(portal.users)))
        assert (await rest.result("method.get", {"name": "im.chat.message.list"}))["isAvailable"]
        seen: list[int] = []
        total = 1
        while len(seen) < total:
            page = await rest.result("im.chat.message.list", {"CHAT_ID": 11, "OFFSET": len(seen), "LIMIT": 50})
            total = page["total"]
            seen += [message["id"] for message in page["messages"]]
        assert seen == list(portal.chats[11].log.ids)
