"""Platforms from seeds: alike for the same seed, of all sizes and kinds, large ones made quickly."""

import time

import pytest

from chatferry.simulators.max import BOT_ID, Kind, Size, Status
from chatferry.simulators.max.generator import generate


def test_the_same_seed_makes_the_same_platform_and_another_one_another() -> None:
    assert generate(Size(seed=4)) == generate(Size(seed=4))
    assert generate(Size(seed=4)).chats.keys() != generate(Size(seed=5)).chats.keys()


def test_a_few_chats_are_large_and_most_are_small() -> None:
    shared = generate(Size(chats=200, largest=1000)).shared()
    sizes = [chat.count for chat in shared]
    assert sizes[:4] == [1000, 500, 333, 250]
    assert min(sizes) == 5
    assert sorted(sizes)[len(sizes) // 2] < 20


def test_kinds_have_their_shares_and_the_bot_is_in_all() -> None:
    chats = generate(Size(chats=1000, largest=100, dialogs=0.2, channels=0.3)).chats.values()
    kinds = [chat.kind for chat in chats]
    assert [kinds.count(kind) for kind in (Kind.DIALOG, Kind.CHANNEL, Kind.CHAT)] == [200, 300, 500]
    assert all(BOT_ID in chat.members and chat.owner_id in chat.members for chat in chats)
    assert {chat.count for chat in chats if chat.kind is Kind.DIALOG} == {2}
    assert all(chat.heard for chat in chats)


def test_some_groups_hear_nothing_and_some_lost_the_bot() -> None:
    chats = generate(Size(chats=1000, largest=100, not_admin=0.2, removed=0.1)).chats.values()
    removed = [chat for chat in chats if chat.status is Status.REMOVED]
    deaf = [chat for chat in chats if chat.has_bot and not chat.heard]
    assert 60 < len(removed) < 140
    assert 100 < len(deaf) < 220
    assert not any(chat.has_bot for chat in removed)
    assert {chat.kind for chat in deaf} == {Kind.CHAT}


def test_join_times_are_unique_within_a_chat_and_ascend() -> None:
    for chat in generate(Size(chats=30)).chats.values():
        times = list(chat.members.values())
        assert times == sorted(set(times))
        chat.join(1, times[0])
        assert chat.members[1] > times[-1]


def test_ten_thousand_chats_are_made_in_no_time() -> None:
    began = time.process_time()
    assert len(generate(Size(chats=10_000)).chats) == 10_000
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "options", [{"chats": -1}, {"largest": 2}, {"dialogs": 0.6, "channels": 0.6}, {"removed": -0.1}, {"not_admin": -1}]
)
def test_impossible_sizes_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Size(**options)  # type: ignore[arg-type]
