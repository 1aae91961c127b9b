from collections import Counter

import pytest

from chatferry.simulators.bitrix24 import GeneratorSettings, OddData, Portal, PortalDataError, generate, truth
from chatferry.simulators.bitrix24.model import Webhook
from chatferry.simulators.bitrix24.writer import LONG_TEXT_CHARACTERS


def everything(portal: Portal) -> list[object]:
    webhook = Webhook(max(portal.users), "s", all_seeing=True)
    chats = truth.chats(portal, webhook)
    messages = [list(truth.messages(portal, webhook, chat["id"])) for chat in chats]
    return [truth.users(portal), chats, messages]


def test_the_same_seed_gives_the_same_portal_and_another_one_another() -> None:
    settings = GeneratorSettings(seed=3, users=30, chats=12, messages=400)
    assert everything(generate(settings)) == everything(generate(settings))
    assert everything(generate(settings)) != everything(
        generate(GeneratorSettings(seed=4, users=30, chats=12, messages=400))
    )


@pytest.mark.parametrize(("chats", "messages"), [(1, 0), (1, 10), (7, 333), (40, 2000)])
def test_there_are_exactly_as_many_chats_and_messages_as_asked_for(chats: int, messages: int) -> None:
    portal = generate(GeneratorSettings(users=20, chats=chats, messages=messages))
    assert len(portal.chats) == chats
    assert portal.count_messages() == messages


def test_chats_differ_in_size_as_zipf_says_and_ids_rise_over_all_of_them() -> None:
    portal = generate(GeneratorSettings(chats=40, messages=4000))
    sizes = sorted((len(chat.log) for chat in portal.chats.values()), reverse=True)
    assert sizes[0] > 5 * sizes[9] > 5
    dates = sorted((number, chat.log.message(number).date) for chat in portal.chats.values() for number in chat.log.ids)
    assert [date for _, date in dates] == sorted(date for _, date in dates)


def test_every_kind_of_account_and_chat_is_there() -> None:
    portal = generate(GeneratorSettings(seed=5, users=80, chats=60))
    kinds = Counter((user.active, user.bot, user.extranet) for user in portal.users.values())
    assert all(
        kinds[kind] for kind in ((True, False, False), (False, False, False), (True, True, False), (True, False, True))
    )
    assert {chat.message_type for chat in portal.chats.values()} == {"P", "C", "O", "N", "X"}
    assert sum(chat.general for chat in portal.chats.values()) == 1
    assert all(len(chat.members) == 2 for chat in portal.chats.values() if chat.message_type == "P")


def test_odd_messages_come_as_often_as_asked_for() -> None:
    odd = OddData(2, 3, 1, 4, 5, 2, 3)
    portal = generate(GeneratorSettings(messages=500, odd=odd))
    found: Counter[str] = Counter()
    for chat in portal.chats.values():
        for position in range(len(chat.log)):
            fields = chat.log.fields(position)
            found["lone_surrogates"] += "\ud83d and" in fields["text"]
            found["control_characters"] += "\x00" in fields["text"]
            found["long_texts"] += len(fields["text"]) == LONG_TEXT_CHARACTERS
            found["dates_without_offset"] += len(fields["date"]) == 19
            found["impossible_dates"] += fields["date"].startswith("2024-02-30")
            found["missing_ids"] += "id" not in fields
            found["missing_authors"] += "author_id" not in fields
    assert list(found.values()) == [2, 3, 1, 4, 5, 2, 3]


def test_habits_hide_history_and_recent_rows_and_leave_messages_unread() -> None:
    settings = GeneratorSettings(hidden_history_share=1, hidden_recent_share=1, unread_share=1)
    portal = generate(settings)
    chats = [chat for chat in portal.chats.values() if len(chat.log) > 1]
    assert any(first for chat in chats for first in chat.members.values())
    assert all(max(portal.users) in chat.hidden_by and chat.unread_from for chat in chats)


def test_numbers_that_make_no_portal_are_refused() -> None:
    with pytest.raises(PortalDataError, match="at least 2 users"):
        generate(GeneratorSettings(users=1))
