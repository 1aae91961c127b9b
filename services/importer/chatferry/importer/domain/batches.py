"""How records are cut into calls: by lane, by size, and so that none overtakes another of its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from chatferry.importer.domain.records import ImportRecord, Line


@dataclass(frozen=True, slots=True)
class Cut:
    """How large a call may be. `failed`: keys that had an attempt before; nothing of their line goes with them.

    `one_of_a_line`, asked anew for each record: no two of a line go together, for the target keeps none back behind
    another that has to come again.
    """

    items: int
    size_bytes: int
    failed: frozenset[str] = frozenset()
    one_of_a_line: Callable[[], bool] = field(default=lambda: False)


def batches(records: Sequence[ImportRecord], cut: Cut) -> Iterator[list[ImportRecord]]:
    """Each line in order, never more than the cut allows; a record larger than that goes alone.

    What must not go with an earlier one of its line goes in a later batch; other lines do not wait for it.
    """
    left = records
    while left:
        batch: list[ImportRecord] = []
        later: list[ImportRecord] = []
        doubtful: set[Line] = set()
        held = 0
        for place, record in enumerate(left):
            size = len(record.body)
            if batch and (len(batch) == cut.items or held + size > cut.size_bytes):
                later += left[place:]
                break
            if record.line in doubtful:
                later.append(record)
                continue
            batch.append(record)
            held += size
            if cut.one_of_a_line() or record.key in cut.failed:
                doubtful.add(record.line)
        yield batch
        left = later


def halves(batch: Sequence[ImportRecord]) -> tuple[Sequence[ImportRecord], Sequence[ImportRecord]]:
    """Both halves of a batch, in order."""
    middle = len(batch) // 2
    return batch[:middle], batch[middle:]


def lanes(records: Sequence[ImportRecord], count: int) -> list[list[ImportRecord]]:
    """Records in order, each line whole in one lane; empty lanes are left out."""
    sorted_out: list[list[ImportRecord]] = [[] for _ in range(count)]
    for record in records:
        sorted_out[record.line.parent % count].append(record)
    return [lane for lane in sorted_out if lane]
