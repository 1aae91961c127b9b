"""The walk through one chat: its parts, then its messages from newest to oldest (reference: bitrix24.md §5.7).

parts   im.dialog.get (watermark, claimed), both participant lists, and the first page, in one batch
pages   backward with LAST_ID until an empty page; forward with FIRST_ID while the newest are missing
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from chatferry.common.entities.reading import (
    PAGE,
    Answer,
    Command,
    Harvest,
    Page,
    Refusal,
    counter,
    map_of,
    rows_of,
    whole,
    wholes,
)

MESSAGES, PLANNED = "im.dialog.messages.get", "im.chat.message.list"
_MEMBERS, _REMEMBERED = 200, 200


@dataclass(slots=True)
class ChatWalk:
    """`newest` caps how many messages are listed (test_limit); None reads the whole chat."""

    chat_id: int
    ref: str
    method: str = MESSAGES
    page_size: int = PAGE
    newest: int | None = None
    watermark: int | None = None
    claimed: int | None = None
    low: int | None = None
    high: int | None = None
    closed_low: bool = False
    closed_high: bool = False
    listed: int = 0
    limited: bool = False
    complete: bool = False
    shown: list[str] = field(default_factory=list)
    """Digests of the last rows without an id: one at the end of a page comes again on the next."""
    above: bool = False
    """Messages above the watermark were shown: newer ones, or the watermark is an old one."""
    _dialog: Mapping[str, Any] = field(default_factory=dict)
    _member_ids: set[int] = field(default_factory=set)
    _members_at: int | None = 0
    _ids_refused: bool = False
    _no_ids: bool = False
    _nameless_member: bool = False
    _sent: list[str] = field(default_factory=list)
    _held: list[Page] = field(default_factory=list)
    """Pages wait for the chat itself: a message without its chat could never be imported."""

    def state(self) -> dict[str, Any]:
        names = (
            "watermark",
            "claimed",
            "low",
            "high",
            "closed_low",
            "closed_high",
            "listed",
            "limited",
            "method",
            "complete",
            "shown",
            "above",
        )
        return {name: getattr(self, name) for name in names}

    def needs(self) -> int:
        return 1 if self.complete or self.watermark is not None else 4

    def plan(self, room: int, label: str) -> list[Command]:
        commands = self._plan(room, label)
        self._sent = [command.label.rpartition("_")[2] for command in commands]
        return commands

    def _plan(self, room: int, label: str) -> list[Command]:
        if self.watermark is None:
            return [
                Command(f"{label}_dialog", "im.dialog.get", {"DIALOG_ID": self.ref}),
                self._members(label),
                Command(f"{label}_ids", "im.chat.user.list", {"CHAT_ID": self.chat_id}),
                self._page(f"{label}_0", {}),
            ]
        if self._members_at is not None and not self.complete:
            return [self._members(label)]
        return self._pages(room, label)

    def _members(self, label: str) -> Command:
        params = {"DIALOG_ID": self.ref, "LIMIT": _MEMBERS, "OFFSET": self._members_at or 0}
        return Command(f"{label}_members", "im.dialog.users.list", params)

    def _pages(self, room: int, label: str) -> list[Command]:
        if self.method == PLANNED:
            first = self.listed
            wanted = max(1, -(-((self.claimed or 0) - first) // self.page_size))
            offsets = [first + n * self.page_size for n in range(min(room, wanted))]
            return [self._page(f"{label}_{n}", {"OFFSET": offset}) for n, offset in enumerate(offsets)]
        if self.low is None:
            return [self._page(f"{label}_0", {})]
        if not self.closed_high:
            return [self._page(f"{label}_0", {"FIRST_ID": self.high})]
        left = max(0, min(self.claimed or 0, self.newest or self.claimed or 0) - self.listed)
        chain = min(room, left // self.page_size + 1)
        return [self._page(f"{label}_{n}", {"LAST_ID": self._before(n, label)}) for n in range(chain)]

    def _before(self, n: int, label: str) -> Any:
        return self.low if n == 0 else f"$result[{label}_{n - 1}][messages][{self.page_size - 1}][id]"

    def _page(self, label: str, cursor: Mapping[str, Any]) -> Command:
        if self.method == PLANNED:
            return Command(label, PLANNED, {"CHAT_ID": self.chat_id, "OFFSET": 0, "LIMIT": self.page_size, **cursor})
        return Command(label, MESSAGES, {"DIALOG_ID": self.ref, "LIMIT": self.page_size, **cursor})

    def absorb(self, answers: Sequence[Answer]) -> Harvest:
        harvest = Harvest()
        told = dict(zip(self._sent, answers, strict=True))
        refusal = self._absorb_parts(told, harvest)
        if refusal is not None:
            harvest.refusal = refusal
            return harvest
        for name in self._sent:
            if name.isdigit() and not self._absorb_page(told[name], harvest):
                break
        harvest.ended = self.complete and self.closed_low and self.closed_high and harvest.refusal is None
        if not harvest.ended and not harvest.pages and not harvest.refusal and "members" not in told:
            harvest.refusal = Refusal("portal.no_progress", transient=True)
        self._held += harvest.pages
        harvest.pages = []
        if self.complete:
            harvest.pages, self._held = self._held, []
        return harvest

    def _absorb_parts(self, told: Mapping[str, Answer], harvest: Harvest) -> Refusal | None:
        for name in ("dialog", "members", "ids"):
            refusal = told[name].refusal if name in told else None
            harvest.used += name in told and refusal is None
            # A list of participants may be refused for good (the general chat's is): the other one serves.
            if refusal is not None and (name == "dialog" or refusal.transient):
                return refusal
        first = told.get("0")
        if "dialog" in told and first is not None and first.refusal is not None:
            return first.refusal
        if "dialog" in told:
            dialog = map_of(told["dialog"].result)
            claimed, watermark = counter(dialog.get("message_count")), counter(dialog.get("last_message_id"))
            if claimed is None or (claimed and not watermark):
                # Without them nobody can say when the walk is complete; 0 would say that all is gone.
                return Refusal("portal.no_watermark", transient=True)
            self._dialog, self.claimed, self.watermark = dialog, claimed, watermark or 0
        if "ids" in told:
            self._member_ids.update(wholes(told["ids"].result))
            self._nameless_member |= any(whole(one) is None for one in rows_of(told["ids"].result))
            self._ids_refused = told["ids"].refusal is not None
            self._no_ids = not rows_of(told["ids"].result)
        if "members" in told:
            self._take_members(told["members"], harvest)
        if not self.complete and self._members_at is None:
            self.complete = True
            harvest.root = self._root()
        return None

    def _root(self) -> dict[str, Any]:
        """The dialog with its participants: both lists, and owner and managers where these may lack somebody.

        An empty list of ids can mean that the rights are missing: wherever somebody is named, it is a refused one
        (reference: bitrix24.md §5.8, §6).
        """
        named = set(wholes([self._dialog.get("owner"), *rows_of(self._dialog.get("manager_list"))]))
        withheld = self._no_ids and bool(self._member_ids or named)
        partial = self._ids_refused or self._nameless_member or withheld
        members = self._member_ids | named if partial else self._member_ids
        return {**self._dialog, "participant_ids": sorted(members), "participants_partial": partial}

    def _take_members(self, answer: Answer, harvest: Harvest) -> None:
        users = [map_of(row) for row in rows_of(answer.result)]
        harvest.users.extend(users)
        named = {number for user in users if (number := whole(user.get("id"))) is not None}
        self._nameless_member |= any(whole(user.get("id")) is None for user in users)
        self._member_ids |= named
        self._members_at = answer.next if answer.refusal is None and users else None

    def _absorb_page(self, answer: Answer, harvest: Harvest) -> bool:
        """False when the pages after this one cannot be used."""
        if answer.refusal is not None:
            harvest.refusal = answer.refusal
            return False
        result = map_of(answer.result)
        rows = [map_of(row) for row in rows_of(result.get("messages"))]
        by_id = {number: row for row in rows if (number := whole(row.get("id"))) is not None}
        self.above |= max(by_id, default=0) > (self.watermark or 0)
        interval = self._advance(sorted(by_id))
        if interval is None:
            return False
        lo, hi = interval
        chosen = [by_id[number] for number in sorted(by_id) if lo <= number < hi]
        self.listed += len(chosen)
        files = {number: row for row in rows_of(result.get("files")) if (number := whole(map_of(row).get("id")))}
        users = [map_of(row) for row in rows_of(result.get("users"))]
        nameless = self._not_shown_before([row for row in rows if whole(row.get("id")) is None])
        harvest.pages.append(Page(lo, hi, chosen, nameless, {"files": files}, users))
        harvest.used += 1
        return len(rows) >= self.page_size and not self.closed_low

    def _not_shown_before(self, nameless: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The next page begins behind the last id that is known, so with rows that this one may have ended with."""
        digests = [_digest(row) for row in nameless]
        new = [row for row, digest in zip(nameless, digests, strict=True) if digest not in self.shown]
        # As many as some pages hold: the first one is gone on with at both of its ends.
        self.shown = [*self.shown, *(digest for digest in digests if digest not in self.shown)][-_REMEMBERED:]
        return new

    def _advance(self, ids: list[int]) -> tuple[int, int] | None:
        """Which interval of ids a page makes known, and the walk's new ends. None: it belongs elsewhere."""
        top = (self.watermark or 0) + 1
        if self.method == PLANNED:
            return self._advance_ascending(ids, top)
        if self.low is None:
            return self._advance_first(ids, top)
        if not self.closed_high:
            lo = (self.high or 0) + 1
            self.high = max(ids, default=self.high)
            self.closed_high = not ids or (self.high or 0) >= top - 1
            return (lo, top) if self.closed_high else (lo, (self.high or 0) + 1)
        hi = min(self.low, top)
        if not ids:
            self.low, self.closed_low = 0, True
            return 0, hi
        if ids[-1] >= self.low:
            return None
        self.low = self._lowest(ids)
        return min(self.low, top), hi

    def _advance_first(self, ids: list[int], top: int) -> tuple[int, int]:
        if ids and ids[0] >= top:
            # All of the page was written after the walk began: what belongs to it lies below.
            self.low, self.high, self.closed_high = ids[0], top - 1, True
            return top, top
        ids = [number for number in ids if number < top]
        if not ids:
            self.low, self.high, self.closed_low, self.closed_high = 0, top - 1, True, True
            return 0, top
        self.low, self.high = self._lowest(ids), ids[-1]
        self.closed_high = self.high >= top - 1
        return self.low, top if self.closed_high else self.high + 1

    def _lowest(self, ids: list[int]) -> int:
        """The page's lower end; a test limit cuts it, and ends the walk."""
        if self.newest is not None and self.listed + len(ids) >= self.newest:
            self.closed_low = self.limited = True
            return ids[-max(1, self.newest - self.listed)]
        return ids[0]

    def _advance_ascending(self, ids: list[int], top: int) -> tuple[int, int]:
        lo = (self.high or 0) + 1
        # Offsets shift when something is deleted: rows may come a second time, and what was passed over is a gap.
        news = [number for number in ids if number >= lo]
        self.low = 0
        self.high = min(max(news, default=top - 1), top - 1)
        if len(ids) < self.page_size or not news or self.high >= top - 1:
            self.closed_low = self.closed_high = True
            return lo, top
        return lo, self.high + 1


def _digest(row: Mapping[str, Any]) -> str:
    return sha256(json.dumps(row, sort_keys=True, default=str).encode()).hexdigest()[:16]
