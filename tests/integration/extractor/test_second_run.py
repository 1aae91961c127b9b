"""What a run finds, and what a second one finds that came after."""

from __future__ import annotations

import pytest
from tests.integration.extractor.extractor_world import World, remembering

pytestmark = pytest.mark.integration


def largest(world: World) -> int:
    return max(world.portal.chats.values(), key=lambda chat: len(chat.log)).id


async def test_a_run_stores_every_message_as_the_portal_has_it(world: World) -> None:
    run = await world.get()
    assert run["state"] == "completed"
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()
    await world.assert_intervals(run["_id"])
    assert {row["state"] for row in (await world.rows()).values()} == {"closed"}
    assert run["method"] == "im.dialog.messages.get"


async def test_an_unchanged_portal_gives_nothing_to_publish(world: World) -> None:
    await world.get()
    before = await world.stored("chat_messages")
    run = await world.get()
    assert run["published"] == 0
    assert await world.stored("chat_messages") == before
    await world.assert_balanced()
    await world.assert_intervals(run["_id"])


async def test_only_what_changed_is_published_again_under_a_higher_version(world: World) -> None:
    await world.get()
    before = await world.stored("chat_messages")
    chat, changes = largest(world), world.running.changes
    ids = [number for number, row in world.truth(chat).items() if not row["deleted"]]
    changes.edit(chat, ids[3], "исправлено")
    changes.delete(chat, ids[5])
    changes.erase(chat, ids[7])
    new = changes.post(chat, 1, "новое")
    sent = []

    def hook(parts):  # type: ignore[no-untyped-def]
        parts, keep = remembering(parts)
        sent.append(keep)
        return parts

    run = await world.get(hook=hook)
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()
    after = await world.stored("chat_messages")
    changed = {number for number, doc in after.items() if doc["version"] != before.get(number, doc)["version"]}
    assert changed == {ids[3], ids[5], ids[7]}
    assert all(after[number]["version"] > before[number]["version"] for number in changed)
    assert after[ids[7]]["payload"] == {**before[ids[7]]["payload"], "deleted": True, "text": ""}
    published = [
        head["ce_subject"].decode() for head in sent[0].headers() if head["ce_type"] == b"chat_messages.extracted"
    ]
    assert published == [f"source:chat:msg:{number}" for number in sorted([ids[3], ids[5], ids[7], new])]
    assert run["published"] == 4


async def test_the_newest_messages_erased_at_the_portal_become_tombstones(world: World) -> None:
    """They lie above the new watermark."""
    await world.get()
    chat = largest(world)
    gone = list(world.truth(chat))[-2:]
    for number in gone:
        world.running.changes.erase(chat, number)
    run = await world.get()
    stored = await world.stored("chat_messages")
    assert [stored[number]["payload"]["deleted"] for number in gone] == [True, True]
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()
    await world.assert_intervals(run["_id"])
    assert run["published"] == 2


async def test_a_chat_that_was_emptied_is_all_tombstones(world: World) -> None:
    await world.get()
    chat = largest(world)
    for number in list(world.truth(chat)):
        world.running.changes.erase(chat, number)
    await world.get()
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()


async def test_a_tombstone_stays_one_and_is_not_sent_again(world: World) -> None:
    await world.get()
    chat = largest(world)
    world.running.changes.erase(chat, list(world.truth(chat))[2])
    assert (await world.get())["published"] == 1
    assert (await world.get())["published"] == 0
    await world.assert_balanced()


async def test_a_new_chat_and_a_new_member_are_found(world: World) -> None:
    await world.get()
    changes, chat = world.running.changes, largest(world)
    stranger = next(user for user in world.portal.users if user not in world.portal.chats[chat].members)
    changes.add_member(chat, stranger)
    fresh = changes.new_chat("новый", 1, [3])
    changes.post(fresh, 1, "первое")
    await world.get()
    await world.assert_equal_to_the_portal()
    await world.assert_balanced()


async def test_a_chat_that_vanished_keeps_its_records_and_is_a_row_with_a_reason(world: World) -> None:
    await world.get()
    chat = largest(world)
    kept = set(world.truth(chat))
    before = await world.stored("chat_messages")
    world.running.changes.remove_chat(chat)
    await world.get()
    row = (await world.rows())[chat]
    assert row["state"] == "unreadable"
    assert "ACCESS_ERROR" in row["reason"]
    stored = await world.stored("chat_messages")
    assert {number: stored[number] for number in kept} == {number: before[number] for number in kept}
    await world.assert_balanced()


async def test_a_chat_removed_from_the_recent_list_is_read_all_the_same_when_it_was_known(world: World) -> None:
    await world.get()
    chat = largest(world)
    world.running.changes.hide_chat(chat, world.webhooks[0])
    new = world.running.changes.post(chat, 1, "после")
    await world.get()
    assert new in await world.stored("chat_messages")
    await world.assert_balanced()
