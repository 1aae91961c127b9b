"""The portal's own records beside those of the target, for `check_ledger.py`; no code of chatferry."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from tools.ledger_expected import Row, differing

PREFIX = {"users": "source:user:", "chats": "source:chat:", "chat_messages": "source:chat:msg:"}


class Portal:
    """From the folder that it was made of (users, chats, messages as JSONL), or a simulator's control address.

    `moving`: a run is under way, so users and chats may be still to come.
    """

    def __init__(self, folder: Path | None, control: str | None) -> None:
        self.moving = False
        self._folder, self._control, self._of_chat = folder, control, defaultdict[int, list[Row]](list)
        self._eyes = [] if control is None else [hook["user_id"] for hook in self._get("/truth")[0]["webhooks"]]
        for row in _numbered(self._rows("messages")) if folder else ():
            self._of_chat[row["chat_id"]].append(row)
        self._users = {row["id"]: row for row in self._rows("users")}

    def compare(
        self, entity: str, here: Row, docs: dict[int | str, Row], there: dict[int, Row], say: Callable[[str, str], None]
    ) -> int:
        """Say each difference that no record that waits, is dead or skipped explains. How many the portal has.

        `here`: the chat's row of the inventory, empty for the roots; `docs`, `there`: records and the target's data.
        """
        rows = {row["id"]: row for row in self._rows(entity, here.get("seq"))}
        nameless = sum(isinstance(number, str) for number in docs)
        for number, row in rows.items():
            doc, key = docs.get(number), f"{PREFIX[entity]}{number}"
            if doc is None and not (_may_be_unread(row, here) or (self.moving and not here)):
                if not nameless:
                    say(key, "on the portal, and never read")
                nameless -= nameless > 0
            elif doc is not None and doc["status"] == "IMPORT_OK" and number in there:
                names = differing(row, there[number], self._users)
                if names:
                    say(key, f"not as on the portal: {', '.join(names)}")
        for number in there.keys() - rows.keys():
            if not there[number].get("deleted"):
                say(f"{PREFIX[entity]}{number}", "at the target, and not on the portal")
        return len(rows)

    def _rows(self, entity: str, chat: int | None = None) -> list[Row]:
        name = entity.removeprefix("chat_")
        if self._folder is not None and chat is not None:
            return self._of_chat[chat]
        if self._folder is not None:
            lines = (self._folder / f"{name}.jsonl").read_bytes().split(b"\n")
            return [json.loads(line) for line in lines if line.strip()]
        if name == "messages":
            return [row for eye in self._eyes for row in self._get(f"/truth/{eye}/messages?chat_id={chat}")]
        return [row for eye in self._eyes for row in self._get(f"/truth/{eye}/{name}")[0]]

    def _get(self, path: str) -> list[Any]:
        """Values of the answer's lines."""
        answer = httpx.get(f"{self._control}{path}", timeout=60, trust_env=False).raise_for_status()
        return [json.loads(line) for line in answer.content.split(b"\n") if line]


def _numbered(rows: list[Row]) -> Iterator[Row]:
    """A folder's files have no ids: the portal counts them."""
    number = 0
    for row in rows:
        files = row.get("attachments") or []
        yield row | {"attachments": [file | {"id": number + place} for place, file in enumerate(files, 1)]}
        number += len(files)


def _may_be_unread(row: Row, here: Row) -> bool:
    """Written after the walk began, of a walk that is not closed or was limited, or a user whom no list shows."""
    if here:
        limited = bool(here["walk"].get("limited"))
        return here["state"] != "closed" or limited or bool(row["id"] > here["watermark"])
    return "text" not in row and "participant_ids" not in row and (row.get("bot") or row.get("listed") is False) is True
