"""Each prerequisite that is missing blocks the run by its name, with a sentence; nothing is half started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import trustme
from tests.integration.extractor.extractor_world import World

from chatferry.common.clock import SystemClock
from chatferry.common.entities.reading import Answer, Command, Refusal
from chatferry.common.portal.client import PortalClient
from chatferry.extractor.app import portal_trust
from chatferry.extractor.settings import ExtractorSettings
from chatferry.simulators.bitrix24 import new_webhook

pytestmark = pytest.mark.integration


class Hasty(SystemClock):
    """Time passes as fast as somebody waits."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.skipped

    async def sleep(self, seconds: float) -> None:
        self.skipped += seconds
        await asyncio.sleep(0)


async def blocked(world: World, name: str, phases: Sequence[str] = ("get",)) -> str:
    """The sentence of a run that is blocked by the prerequisite of that name."""
    run = await world.drive(await world.ask(phases=phases))
    assert run["state"] == "blocked"
    assert run["reason"].startswith(f"{name}: "), run["reason"]
    checks = {check["name"]: check for check in run["preflight"]}
    assert checks[name]["ok"] is False
    assert await world.database.source_inventory.count_documents({}) == 0
    assert (await world.database.entities.find_one({"_id": "chats"}) or {}).get("set_open") is None
    for webhook in world.portal.webhooks.values():
        assert webhook.secret not in run["reason"]
    return str(run["reason"])


async def test_all_answers_are_in_the_run_by_name(world: World) -> None:
    run = await world.get()
    names = [check["name"] for check in run["preflight"]]
    assert names == [
        "infra.storage.ready",
        "mapping.done",
        "auth.cloud.chats",
        "project.portal",
        "auth.target.import.chats",
        "auth.done",
        "users.get.completed",
    ]
    assert all(check["ok"] for check in run["preflight"])


async def test_a_wrong_secret_is_named(world: World) -> None:
    client = world.portal_client()
    world.running.board.revoke_webhooks(world.webhooks[0])
    new_webhook(world.portal, world.webhooks[0], "another-secret")
    world.portal_client = lambda limits=None: client  # type: ignore[method-assign]
    sentence = await blocked(world, "auth.cloud.chats")
    assert "is not accepted (wrong user id or secret, or it was disabled)" in sentence


async def test_a_missing_scope_is_named(world: World) -> None:
    world.running.board.revoke_webhooks(world.webhooks[0])
    new_webhook(world.portal, world.webhooks[0], None, ("user",))
    assert "lacks the scope im; edit the webhook" in await blocked(world, "auth.cloud.chats")


async def test_a_portal_that_cannot_be_reached_is_named(world: World) -> None:
    webhook = world.portal_client()
    unreachable = {
        user: type(one)(one.user_id, one.host, f"http://127.0.0.1:1/rest/{user}/secret-of-nobody")
        for user, one in webhook.webhooks.items()
    }
    webhook.webhooks = unreachable
    world.portal_client = lambda limits=None: webhook  # type: ignore[method-assign]
    sentence = await blocked(world, "auth.cloud.chats")
    assert "does not answer" in sentence
    assert "secret-of-nobody" not in sentence


def over_https(world: World) -> None:
    """From here on the portal is asked at its other address."""
    client: PortalClient = world.portal_client()
    client.webhooks = {
        user: type(one)(one.user_id, one.host, world.running.webhook_url(user, tls=True))
        for user, one in client.webhooks.items()
    }
    world.portal_client = lambda limits=None: client  # type: ignore[method-assign]


async def test_a_foreign_certificate_is_named(world: World) -> None:
    over_https(world)
    sentence = await blocked(world, "auth.cloud.chats")
    assert "certificate that is not trusted; give its CA in CHATFERRY_PORTAL_CA_FILE" in sentence


@asynccontextmanager
async def trusting(world: World, file: Path) -> AsyncIterator[None]:
    """The service's own way from the setting to its connections."""
    given = {"kafka": "k:1", "redis": "redis://r", "mongodb": "mongodb://m", "portal_ca_file": file}
    async with httpx.AsyncClient(verify=portal_trust(ExtractorSettings.model_validate(given))) as world.http:
        over_https(world)
        yield


async def test_a_portal_is_read_over_https_once_the_ca_of_its_certificate_is_given(world: World) -> None:
    async with trusting(world, world.running.ca_file):
        run = await world.get()
    assert run["state"] == "completed", run.get("reason")
    await world.assert_equal_to_the_portal()


async def test_the_ca_of_somebody_else_does_not_help(world: World, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    async with trusting(world, file):
        assert "certificate that is not trusted" in await blocked(world, "auth.cloud.chats")


async def read_before(world: World, portal: str) -> None:
    """A run of this project has begun to read that portal."""
    earlier = {"_id": f"chats-of-{portal}", "portal": portal, "timings": {"get": {"started_at": datetime.now(UTC)}}}
    await world.database.runs.insert_one({**earlier, "family": "chats", "state": "verified"})


async def test_a_second_portal_never_gets_among_the_records_of_the_first(world: World) -> None:
    await read_before(world, "a.bitrix24.ru")
    sentence = await blocked(world, "project.portal")
    assert sentence.startswith(
        "project.portal: this project is of a.bitrix24.ru, and the webhooks of its services are of "
    )
    assert "CHATFERRY_PORTAL_FORMERLY" in sentence


async def test_a_portal_that_was_renamed_is_the_same_one_once_that_is_said(world: World) -> None:
    await read_before(world, "a.bitrix24.ru")
    await read_before(world, "b.bitrix24.ru")
    world.formerly = ("b.bitrix24.ru",)
    assert "is of a.bitrix24.ru, and" in await blocked(world, "project.portal")
    world.formerly = ("b.bitrix24.ru", "a.bitrix24.ru")
    assert (await world.get())["state"] == "completed"


async def test_a_portal_of_which_nothing_was_read_keeps_nobody_out(world: World) -> None:
    blocked_then = {"_id": "mistyped", "portal": "misspelt.bitrix24.ru", "family": "chats", "state": "blocked"}
    await world.database.runs.insert_one(blocked_then)
    assert (await world.get())["state"] == "completed"


async def test_a_run_that_was_asked_of_another_portal_than_the_extractor_has_webhooks_of_is_blocked(
    world: World,
) -> None:
    run = await world.ask()
    await world.database.runs.update_one({"_id": run}, {"$set": {"portal": "other.bitrix24.ru"}})
    document = await world.drive(run)
    assert document["reason"].startswith("project.portal: this project is of other.bitrix24.ru")


async def test_a_target_that_refuses_is_named_in_the_importers_words(world: World) -> None:
    run = await world.ask(phases=("get", "set"))
    answer = {"ok": False, "detail": "the target refuses the webhook (401)"}
    await world.database.runs.update_one({"_id": run}, {"$set": {"target_check": answer}})
    document = await world.drive(run)
    assert document["state"] == "blocked"
    assert document["reason"] == "auth.target.import.chats: the target refuses the webhook (401)"


async def test_without_an_importer_nothing_is_started(world: World) -> None:
    world.clock = Hasty()
    sentence = await blocked(world, "auth.target.import.chats", ("get", "set", "verify"))
    assert "no importer answered; start one (`chatferry up`)" in sentence


@pytest.mark.parametrize("phases", [("get", "set"), ("set",), ("get", "set", "verify"), ("verify",)])
async def test_users_that_were_not_imported_are_named(world: World, phases: Sequence[str]) -> None:
    """Where the chats go to the target. That the users were read is not enough."""
    run = await world.ask(phases=phases)
    answer = {"ok": True, "detail": "the target lets us in"}
    await world.database.runs.update_one({"_id": run}, {"$set": {"target_check": answer}})
    await world.database.entities.replace_one({"_id": "users"}, {"get": {"run": "earlier", "whole": True}})
    document = await world.drive(run)
    assert document["reason"] == "users.import.completed: run `chatferry migrate users` first"


async def test_chats_of_a_fresh_project_are_read_once_its_users_were_read(world: World) -> None:
    """Nothing is sent to the target by a run that only gets, so nothing has to be there."""
    assert (await world.drive(await world.ask("users")))["state"] == "completed"
    run = await world.ask()
    await world.database.entities.update_one({"_id": "users"}, {"$unset": {"imported_run": ""}})
    assert (await world.drive(run))["state"] == "completed"
    await world.assert_equal_to_the_portal()


@pytest.mark.parametrize("get", [None, {"run": "earlier", "whole": False}])
async def test_users_that_were_not_read_or_not_all_of_them_are_named(world: World, get: object) -> None:
    run = await world.ask()
    await world.database.entities.replace_one({"_id": "users"}, {"get": get})
    document = await world.drive(run)
    assert document["state"] == "blocked"
    assert document["reason"] == "users.get.completed: run `chatferry migrate users` first"


async def test_a_missing_index_is_named(world: World) -> None:
    await world.database.chat_messages.drop_index("in_order")
    assert "chat_messages lacks an index; `chatferry bootstrap` creates it" in await blocked(
        world, "infra.storage.ready"
    )


async def test_a_missing_topic_is_named(world: World) -> None:
    world.project = "nobody-made-this"
    assert "nobody-made-this.chats does not exist" in await blocked(world, "infra.storage.ready")


async def test_shapes_that_changed_since_are_named(world: World) -> None:
    await world.database.entities.update_one({"_id": "mapping"}, {"$set": {"fingerprint": "older"}})
    assert "run `chatferry bootstrap` again" in await blocked(world, "mapping.done")


async def test_a_list_that_may_not_be_read_blocks_the_run_and_names_the_webhook(world: World) -> None:
    class Refusing:
        async def batch(self, webhook: int, commands: list[Command]) -> list[Answer]:
            return [Answer(refusal=Refusal("ACCESS_DENIED", transient=False)) for _ in commands]

    run = await world.get(hook=lambda parts: replace(parts, portal=Refusing()))  # type: ignore[arg-type]
    assert run["state"] == "blocked"
    assert f"cannot be read through the webhook of user {world.webhooks[0]} (ACCESS_DENIED)" in run["reason"]
