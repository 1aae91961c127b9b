"""The stranger's ledger and dead letters: it names a replay that was lost and a letter that outlived its record, and
agrees with whatever a replay comes through, killed or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from tests.integration.whole.ledger_world import Stopped, Verdict, check, save_status

pytestmark = pytest.mark.integration
_WAITS = {"$set": {"status": "NEW"}, "$unset": {"imported_version": "", "imported_hash": ""}}
_DIED = {"$set": {"status": "IMPORT_ERR", "last_error": "refused"}, "$unset": {"imported_version": ""}}


@dataclass(frozen=True)
class Message:
    """One that has arrived. `place`: of its first delivery; `again`: the partition that has a second one, which
    replays it, as the next record to be read."""

    stopped: Stopped
    record: Any
    place: str
    again: TopicPartition

    @property
    def named(self) -> str:
        return f"{self.record['_id']} version {self.record['version']}"

    @contextmanager
    def letter(self, state: str, **changes: Any) -> Iterator[str]:
        """With its importer's dead letter in this state; its id."""
        topic, partition, offset = self.place.split("/")
        told = {"entity": "chat_messages", "key": self.record["_id"], "version": self.record["version"]}
        where = {"topic": topic, "partition": int(partition), "offset": int(offset), "parent": self.record["parent"]}
        ended = {"service": "importer", "error_class": "permanent", "code": "refused", "copied": True}
        letters = self.stopped.database.dead_letters
        letters.insert_one({"_id": self.place, **told, **where, **ended, "state": state, **changes})
        try:
            yield self.place
        finally:
            letters.delete_one({"_id": self.place})

    def changed(self, change: Any) -> Any:
        """With its document otherwise."""
        return self.stopped.changed(self.stopped.database.chat_messages, self.record, change)

    def check(self, folder: Path, *, replay_read: bool = False) -> Verdict:
        """What is said now; `replay_read`: with the replay's delivery finished."""
        with ExitStack() as stack:
            if replay_read:
                stack.enter_context(self.stopped.committed(self.again, 1))
            status = save_status(self.stopped.project, folder / "status.json")
            return check(status)


@pytest.fixture(scope="module")
def message(stopped: Stopped) -> Message:
    chats = stopped.database.chat_messages
    record = chats.find_one({"status": "IMPORT_OK", "parent": 2}, sort=[("seq", 1)])
    place = stopped.delivered(record)
    return Message(stopped, record, place, stopped.publish(record["_id"], record["version"], b"2", replay_of=place))


@pytest.mark.parametrize("state", ["replayed", "superseded"])
def test_a_replay_that_was_read_and_never_ended_is_named(message: Message, tmp_path: Path, state: str) -> None:
    with message.letter(state), message.changed(_WAITS):
        message.check(tmp_path, replay_read=True).assert_names(
            f"{message.named} is committed, and neither imported, parked nor dead",
            f"{message.record['_id']}: waits, and is neither due, parked nor on its topic",
        )


def test_a_replay_that_was_read_while_its_letter_waits_for_it_is_named(message: Message, tmp_path: Path) -> None:
    with message.letter("replaying"), message.changed(_WAITS):
        message.check(tmp_path, replay_read=True).assert_names(
            f"{message.named} is committed, but what it replays is on its way still"
        )


def test_a_letter_that_outlives_the_arrival_of_its_record_is_named(message: Message, tmp_path: Path) -> None:
    with message.letter("dead"):
        message.check(tmp_path).assert_names(f"{message.place}: {message.named} is imported, and its dead letter")


@pytest.mark.parametrize("state", ["replayed", "superseded", "discarded"])
def test_a_letter_that_has_ended_agrees_with_a_record_that_arrived(
    message: Message, tmp_path: Path, state: str
) -> None:
    with message.letter(state):
        message.check(tmp_path).assert_agrees()
        message.check(tmp_path, replay_read=True).assert_agrees()


@pytest.mark.parametrize(
    ("letter", "change"),
    [
        ({"state": "dead"}, _DIED),
        ({"state": "replaying", "unsent": True}, _DIED),
        ({"state": "replaying", "unsent": True}, _WAITS),
        ({"state": "replaying"}, _WAITS),
        ({"state": "replayed"}, _WAITS),
    ],
    ids=[
        "nobody has replayed it",
        "killed behind the claim",
        "killed behind the record",
        "killed while the replay is on its way",
        "killed between the end of the letter and that of the record",
    ],
)
def test_a_replay_that_is_cut_off_anywhere_agrees(message: Message, tmp_path: Path, letter: Any, change: Any) -> None:
    with message.letter(**letter), message.changed(change):
        message.check(tmp_path).assert_agrees()


def test_a_replay_that_is_to_be_sent_agrees_with_a_topic_that_does_not_have_it(
    stopped: Stopped, message: Message, tmp_path: Path
) -> None:
    record = stopped.database.chat_messages.find_one({"status": "IMPORT_OK", "parent": 3}, sort=[("seq", 1)])
    other = Message(stopped, record, stopped.delivered(record), message.again)
    for letter in ({"state": "replaying", "unsent": True}, {"state": "replaying"}):
        with other.letter(**letter), other.changed(_WAITS):
            other.check(tmp_path).assert_agrees()
    with other.letter("replayed"), other.changed(_WAITS):
        other.check(tmp_path).assert_names(f"{record['_id']}: waits, and is neither due, parked nor on its topic")


@pytest.mark.parametrize("change", [_DIED, {"$set": {"status": "SKIPPED", "skip_reason": "discarded: x"}}])
def test_another_copy_of_a_record_that_is_dead_or_given_up_agrees(
    message: Message, tmp_path: Path, change: Any
) -> None:
    change = {**change, "$unset": {"imported_version": ""}}
    with message.letter("dead" if change["$set"]["status"] == "IMPORT_ERR" else "discarded"), message.changed(change):
        message.check(tmp_path, replay_read=True).assert_agrees()


@pytest.mark.parametrize(
    ("letter", "error"),
    [({"copied": True}, "refused"), ({"copied": False}, None), ({"key": None, "version": None}, None)],
    ids=["an error that is not forgiven yet", "not written down whole yet", "of a copy that was unreadable"],
)
def test_a_letter_that_somebody_is_about_to_end_agrees_with_a_record_that_arrived(
    message: Message, tmp_path: Path, letter: Any, error: str | None
) -> None:
    with ExitStack() as stack:
        stack.enter_context(message.letter("dead", **letter))
        if error is not None:
            stack.enter_context(message.changed({"$set": {"last_error": error}}))
        message.check(tmp_path).assert_agrees()


@pytest.mark.parametrize("state", ["dead", "replaying", "discarded"])
def test_a_record_whose_only_copy_is_unreadable_waits_for_a_person(
    message: Message, tmp_path: Path, state: str
) -> None:
    with message.letter(state, key=None, version=None, error_class="undecodable"), message.changed(_WAITS):
        message.check(tmp_path).assert_agrees()


def test_nothing_of_it_is_left(message: Message, tmp_path: Path) -> None:
    message.check(tmp_path).assert_agrees()
