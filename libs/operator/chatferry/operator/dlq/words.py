"""What the commands say at their end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chatferry.operator.dlq.discard import Discarded
from chatferry.operator.dlq.ports import Outcome
from chatferry.operator.dlq.replay import Replayed

_SHOWN = 10


def of_replay(done: Replayed, stopped: Sequence[str] = ()) -> Iterator[str]:
    """Line by line; the last one says whether all of it is proved. `stopped`: why nothing of it is delivered now."""
    claimed = done.claimed
    if claimed.cut_off:
        yield f"{claimed.cut_off:,} of them an earlier replay had not sent"
    yield from _ended(done.outcome)
    yield from _not_sent(done)
    if done.outcome.left and stopped:
        yield f"{done.outcome.left:,} are on their way still and wait: {'; '.join(stopped)}"
    elif done.outcome.left:
        yield f"{done.outcome.left:,} are on their way still; the importers go on without this command"
    if not (claimed.to_send or claimed.on_the_way or claimed.rejects or claimed.unsettled):
        yield "there is nothing to replay"
    elif done.proved:
        yield "nothing of it is left; now: `chatferry verify`"


def _ended(outcome: Outcome) -> Iterator[str]:
    if outcome.arrived or outcome.superseded:
        superseded = f", {outcome.superseded:,} superseded by newer content" if outcome.superseded else ""
        yield f"{outcome.arrived:,} arrived at the target{superseded}"
    if outcome.given_up:
        yield f"{outcome.given_up:,} had been given up, or went with a chat that was: skipped, and not at the target"
    for code, count in sorted(outcome.again.items(), key=lambda one: -one[1]):
        yield f"{count:,} died again with {code}: they are dead letters as before; mend the cause first"


def _not_sent(done: Replayed) -> Iterator[str]:
    claimed = done.claimed
    for one, why in list(done.set_back.items())[:_SHOWN]:
        yield f"{one} cannot be sent: {why}; discard it, or change the record at the portal and migrate again"
    if len(done.set_back) > _SHOWN:
        yield f"and {len(done.set_back) - _SHOWN:,} more that cannot be sent"
    if claimed.rejects:
        yield (
            f"{claimed.rejects:,} came from the portal in a form that nobody can take, so there is nothing to send: "
            "mend them at the portal and migrate again, or discard them"
        )
    if claimed.unsettled:
        yield f"{claimed.unsettled:,} are being written down by an importer: replay them in a moment"


def of_discard(done: Discarded) -> Iterator[str]:
    """Line by line."""
    if done.letters:
        yield "1 dead letter is discarded" if done.letters == 1 else f"{done.letters:,} dead letters are discarded"
    else:
        yield "there is nothing to discard"
    if done.children:
        yield f"{done.children:,} records that waited for them are skipped with them, by the importers"
    if done.unsettled:
        yield f"{done.unsettled:,} are being written down by an importer: discard them in a moment"
