"""One chat of a portal as `im.*` shows it, in memory: pages with cursors, unread windows, batch references."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

from chatferry.common.entities.chat_walk import PLANNED, ChatWalk
from chatferry.common.entities.reading import Answer, Command, Harvest, Page, Refusal

_REFERENCE = re.compile(r"\$result\[(\w+)\]\[messages\]\[(\d+)\]\[id\]")


@dataclass
class ModelChat:
    """`unread`: how many of the newest nobody has read. `short`: pages may hold fewer than they could.

    `nameless`: messages that are shown without their ids.
    """

    ids: list[int]
    nameless: frozenset[int] = frozenset()
    unread: int = 0
    short: bool = False
    members: Sequence[int] = (1, 2, 3)
    member_page: int = 200
    random: Random = field(default_factory=lambda: Random(1))
    refuse: Callable[[Command], Refusal | None] = lambda _: None
    between: Callable[[], None] = lambda: None
    asked: list[Command] = field(default_factory=list)

    def batch(self, commands: Sequence[Command]) -> list[Answer]:
        """One request; something may happen on the portal after each command."""
        results: dict[str, Any] = {}
        answers = []
        for command in commands:
            self.asked.append(command)
            refusal = self.refuse(command)
            answer = Answer(refusal=refusal) if refusal else self._answer(command, results)
            results[command.label] = answer.result
            answers.append(answer)
            self.between()
        return answers

    def _answer(self, command: Command, results: Mapping[str, Any]) -> Answer:
        params = {name: self._resolved(value, results) for name, value in command.params.items()}
        if command.method == "im.dialog.get":
            last = self.ids[-1] if self.ids else 0
            return Answer({"id": "7", "message_count": len(self.ids), "last_message_id": last})
        if command.method == "im.chat.user.list":
            return Answer(list(self.members))
        if command.method == "im.dialog.users.list":
            start = params["OFFSET"]
            page = [{"id": member} for member in self.members[start : start + self.member_page]]
            more = start + self.member_page < len(self.members)
            return Answer(page, next=start + self.member_page if more else None)
        return Answer({"messages": [self._row(number) for number in self._page(command.method, params)]})

    def _row(self, number: int) -> dict[str, Any]:
        return {"id": None, "text": f"{number}"} if number in self.nameless else {"id": number}

    def _resolved(self, value: Any, results: Mapping[str, Any]) -> Any:
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return value
        rows = (results.get(match.group(1)) or {}).get("messages", [])
        position = int(match.group(2))
        return rows[position]["id"] if position < len(rows) else ""

    def _page(self, method: str, params: Mapping[str, Any]) -> list[int]:
        limit = params["LIMIT"]
        if method == PLANNED:
            return self.ids[params["OFFSET"] :][:limit]
        if params.get("FIRST_ID"):
            after = [number for number in self.ids if number > params["FIRST_ID"]]
            page = after[: self._size(min(limit, len(after)))]
            self.random.shuffle(page)
            return page
        if params.get("LAST_ID"):
            before = [number for number in self.ids if number < params["LAST_ID"]]
            return before[::-1][: self._size(min(limit, len(before)))]
        return self._first_page(limit)

    def _first_page(self, limit: int) -> list[int]:
        if self.unread <= limit:
            return self.ids[-(limit + self.unread) :][::-1] if self.unread else self.ids[-limit:][::-1]
        read = len(self.ids) - self.unread
        return self.ids[max(0, read - limit) : read + limit][::-1]

    def _size(self, most: int) -> int:
        return self.random.randint(1, most) if self.short and most else most


@dataclass
class Walked:
    """What a walk brought until it ended."""

    pages: list[Page]
    roots: list[Mapping[str, Any]]
    harvests: list[Harvest]
    batches: int

    @property
    def ids(self) -> list[int]:
        return sorted(int(row["id"]) for page in self.pages for row in page.rows)


def walk_to_the_end(walk: ChatWalk, chat: ModelChat, rooms: Callable[[], int] = lambda: 50) -> Walked:
    """Ask and absorb until the walk says that it has ended; fails when it does not."""
    walked = Walked([], [], [], 0)
    while walked.batches < 10_000:
        harvest = walk.absorb(chat.batch(walk.plan(max(walk.needs(), rooms()), f"w{walked.batches}")))
        walked.batches += 1
        walked.harvests.append(harvest)
        walked.pages += harvest.pages
        walked.roots += [harvest.root] if harvest.root is not None else []
        if harvest.ended:
            return walked
    raise AssertionError("the walk does not end")


def covers(pages: Sequence[Page], top: int) -> bool:
    """The pages' intervals follow one another without overlap, from the beginning up to `top` (excluded)."""
    intervals = sorted((page.lo, page.hi) for page in pages if page.hi > page.lo)
    if not intervals:
        return top <= 1
    ends_meet = all(before[1] == after[0] for before, after in pairwise(intervals))
    return ends_meet and intervals[0][0] <= 1 and intervals[-1][1] == top
