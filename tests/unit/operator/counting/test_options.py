"""What the demo of participant counts is told, before anything is started."""

from __future__ import annotations

import pytest

from chatferry.common.errors import ConfigurationError
from chatferry.operator.counting.options import Options, paced


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (Options(chats=0), "--chats 0: give 1 to 20000"),
        (Options(chats=20_001), "--chats 20001: give 1 to 20000"),
        (Options(replicas=0), "--replicas 0: give 1 to 8"),
        (Options(replicas=9), "--replicas 9: give 1 to 8"),
        (Options(seconds=7), "--seconds 7: give 8 to 86400"),
        (Options(seconds=86_401), "--seconds 86401: give 8 to 86400"),
        (
            Options(seconds=20, events="off"),
            "--seconds 20: give 21 to 86400 for 200 chats that are read in turn",
        ),
    ],
)
def test_an_option_that_cannot_be_is_one_sentence_that_says_what_can(options: Options, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        paced(options)
    assert wrong.value.sentence == sentence


@pytest.mark.parametrize("seconds", [8, 20, 60, 3_600])
def test_with_events_the_end_is_quiet_for_long_enough_that_debounced_reads_end(seconds: int) -> None:
    pace = paced(Options(seconds=seconds))
    assert 5 <= pace.quiet_s <= 15
    assert seconds - pace.quiet_s >= 3


@pytest.mark.parametrize("chats", [1, 200, 10_000])
def test_without_events_the_quiet_is_longer_than_a_round_of_reads(chats: int) -> None:
    pace = paced(Options(chats=chats, seconds=86_400, events="off"))
    assert chats / pace.poll_s <= 20, "the round fits into MAX's limit"
    assert pace.quiet_s >= pace.poll_s + 8, "the longest wait, until it is noticed, and the read"


@pytest.mark.parametrize(("seconds", "unheard"), [(51, 0), (52, 20)])
def test_changes_are_kept_untold_only_where_the_quiet_outlasts_the_poll_that_finds_them(
    seconds: int, unheard: int
) -> None:
    pace = paced(Options(seconds=seconds))
    assert pace.unheard == unheard
    assert not unheard or pace.quiet_s >= pace.poll_s + 8


@pytest.mark.parametrize("chats", [1, 9, 200, 20_000])
def test_polling_what_is_untold_leaves_most_calls_to_others(chats: int) -> None:
    pace = paced(Options(chats=chats))
    assert pace.unheard <= chats / 10
    assert pace.unheard / pace.poll_s <= 4


@pytest.mark.parametrize("chats", [1, 100, 200, 400, 20_000])
def test_changes_are_seen_however_few_chats_there_are_and_need_no_more_calls_than_max_allows(chats: int) -> None:
    assert 0.5 <= paced(Options(chats=chats)).changes_per_s <= 2
