"""What is asked of a person who gives up, and what the commands say at their end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chatferry.common.errors import FatalError
from chatferry.operator.dlq.discard import Word
from chatferry.operator.dlq.ports import Claimed, Outcome
from chatferry.operator.dlq.replay import Replayed
from chatferry.operator.dlq.words import of_replay

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HALT = "100 records in a row died, most of them for target.FULL; then `chatferry dlq resume chats`"


@pytest.mark.parametrize("name", ["", " ", "\udcff", "a\nb", "a" * 201])
def test_who_gives_up_and_why_are_words_of_one_line(name: str) -> None:
    with pytest.raises(FatalError, match="--by NAME"):
        Word(name, NOW, "agreed")
    with pytest.raises(FatalError, match="reason of one line"):
        Word("me", NOW, name)
    assert Word("Анна 7", NOW, " agreed [/JIRA-7] ").skip_reason == "discarded: agreed [/JIRA-7]"


def test_what_is_on_its_way_goes_on_unless_delivery_was_stopped_meanwhile() -> None:
    done = Replayed(Claimed(fresh=500), Outcome(again={"target.FULL": 100}, left=400), {})
    assert "400 are on their way still; the importers go on without this command" in list(of_replay(done))
    stopped = "\n".join(of_replay(done, [HALT]))
    assert "go on without this command" not in stopped
    assert f"400 are on their way still and wait: {HALT}" in stopped
