"""The ports of a replay in memory, with importers that end what reaches the topic; any write may crash."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.unit.importer.fakes import FakeClock
from tests.unit.importer.faults import Faults

from chatferry.operator.dlq.ports import Claimed, Content, Letter, Outcome
from chatferry.operator.dlq.replay import Parts
from chatferry.operator.dlq.selection import Selection


@dataclass
class FakeDlq:
    """Rows by id: (chat, number) orders them. `log`: what is on the topic. `refuses`: numbers that die again."""

    faults: Faults = field(default_factory=Faults)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    log: list[tuple[int, int]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    too_large: set[str] = field(default_factory=set)
    newer: set[str] = field(default_factory=set)
    refuses: set[int] = field(default_factory=set)
    stuck: bool = False
    name: str = "r0"
    read_to: int = 0
    clock: FakeClock = field(default_factory=FakeClock)

    def add(self, chat: int, number: int) -> str:
        one = f"p.chat_messages/0/{len(self.rows)}"
        self.rows[one] = {"line": (chat, number), "state": "dead", "unsent": False, "replay": None}
        self.records[one] = "IMPORT_ERR"
        return one

    def parts(self, name: str) -> Parts:
        """A new process."""
        self.name, self.faults.dead = name, False
        return Parts(self, self, self, self, self, self.clock)

    def mine(self, state: str) -> list[dict[str, Any]]:
        return [row for row in self.rows.values() if row["replay"] == self.name and row["state"] == state]

    def import_all(self) -> None:
        """What the importers do with what is on the topic."""
        if self.stuck:
            return
        places = {row["line"]: one for one, row in self.rows.items()}
        for line in self.log[self.read_to :]:
            one = places[line]
            if self.records[one] == "IMPORT_OK":
                continue
            self.records[one] = "IMPORT_ERR" if line[1] in self.refuses else "IMPORT_OK"
            if self.rows[one]["state"] == "replaying":
                self.rows[one].update(state="replayed", again=line[1] in self.refuses)
        self.read_to = len(self.log)

    async def claim(self, selection: Selection) -> Claimed:
        del selection
        self.faults.before("claim")
        on_the_way = [row for row in self.rows.values() if row["state"] == "replaying"]
        dead = [row for row in self.rows.values() if row["state"] == "dead"]
        cut_off = sum(row["unsent"] for row in on_the_way)
        for row in on_the_way:
            row["replay"] = self.name
        for row in dead:
            row.update(state="replaying", unsent=True, replay=self.name)
        self.faults.done()
        return Claimed(len(dead), cut_off, len(on_the_way) - cut_off)

    async def unsent(self, most: int) -> list[Letter]:
        due = [one for one, row in self.rows.items() if row in self.mine("replaying") and row["unsent"]]
        due.sort(key=lambda one: self.rows[one]["line"])
        return [Letter(one, "chat_messages", "p.chat_messages", one, 1, None) for one in due[: min(most, 3)]]

    async def sent(self, ids: Collection[str]) -> None:
        self.faults.before("sent")
        for one in ids:
            self.rows[one]["unsent"] = False
        self.faults.done()

    async def set_back(self, reasons: Mapping[str, str]) -> None:
        self.faults.before("set back")
        for one in reasons:
            self.rows[one].update(state="dead", unsent=False)
            self.records[one] = "IMPORT_ERR"
        self.faults.done()

    async def read(self, letters: Sequence[Letter]) -> dict[str, Content]:
        return {one.id: Content(b"1", one.id.encode(), ()) for one in letters if one.id not in self.gone}

    async def renew(self, letters: Sequence[Letter]) -> set[str]:
        self.faults.before("renew")
        moot = {letter.id for letter in letters if letter.id in self.newer}
        for letter in letters:
            if letter.id in moot:
                self.rows[letter.id].update(state="superseded", unsent=False)
            elif self.records[letter.id] == "IMPORT_ERR":
                self.records[letter.id] = "NEW"
        self.faults.done()
        return moot

    async def send(self, letters: Sequence[tuple[Letter, Content]]) -> set[str]:
        self.faults.before("send")
        self.log += [self.rows[one.id]["line"] for one, _ in letters if one.id not in self.too_large]
        self.faults.done()
        return {one.id for one, _ in letters} & self.too_large

    async def left(self) -> int:
        self.import_all()
        return len(self.mine("replaying"))

    async def outcome(self) -> Outcome:
        again = sum(row["again"] for row in self.mine("replayed"))
        arrived = len(self.mine("replayed")) - again
        return Outcome(arrived, len(self.mine("superseded")), {"target.NO": again} if again else {})


@dataclass
class Told:
    """Port `Progress`."""

    seen: list[tuple[str, int]] = field(default_factory=list)

    def begin(self, to_send: int, all_of_them: int) -> None:
        self.seen += [("to send", to_send), ("all", all_of_them)]

    def sent(self, count: int) -> None:
        self.seen.append(("sent", count))

    def left(self, count: int) -> None:
        self.seen.append(("left", count))
