"""The `chatferry` command and what it started, on a portal made of a small folder; read back past all of our code."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from pymongo import MongoClient

from chatferry.stack import Addresses
from chatferry.stack.process import command_line

Json = dict[str, Any]
_COMMAND_S = 150.0


def write_folder(folder: Path, *, chats: int = 6, messages: int = 240, seed: int = 1) -> Path:
    """users.jsonl, chats.jsonl and messages.jsonl with every kind of record that the form knows."""
    draw = random.Random(seed)
    users: list[Json] = [{"id": n, "name": f"Участник {n}", "active": n % 4 != 0} for n in range(1, 13)]
    users.append({"id": 13, "name": "Бот 😀", "active": True, "bot": True})
    rooms: list[Json] = []
    for number in range(1, chats + 1):
        kind = ("group", "private", "channel")[number % 3]
        members = draw.sample(range(1, 14), 2 if kind == "private" else 6)
        created = f"2024-01-{number:02}T10:00:00+03:00"
        room: Json = {
            "id": number,
            "type": kind,
            "title": f"Чат {number}",
            "created_at": created,
            "owner_id": members[0],
        }
        rooms.append({**room, "participant_ids": sorted(members)})
    written: dict[int, list[int]] = {room["id"]: [] for room in rooms}
    rows: list[Json] = []
    for number in range(1, messages + 1):
        room = rooms[min(draw.randrange(chats), draw.randrange(chats))]
        row: Json = {
            "id": number,
            "chat_id": room["id"],
            "author_id": draw.choice(room["participant_ids"]),
            "text": f"Сообщение {number} [b]жирно[/b] 😀\n\x07" + "я" * draw.randrange(60),
            "date": f"2024-02-{1 + number // 60 % 28:02}T{number // 3600 % 24:02}:{number % 60:02}:07+03:00",
            "system": number % 17 == 0,
        }
        if number % 7 == 0 and written[room["id"]]:
            row["reply_to"] = draw.choice(written[room["id"]])
        if number % 11 == 0:
            row["attachments"] = [{"name": "план.pdf", "size": 100 + number, "mime": "application/pdf"}]
        written[room["id"]].append(number)
        rows.append(row)
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in (("users", users), ("chats", rooms), ("messages", rows)):
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def read_folder(folder: Path, name: str) -> dict[int, Json]:
    with (folder / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return {row["id"]: row for row in map(json.loads, lines)}


OFFICE_PROXY = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
}
"""As a company's machine has it: the proxy leads outside, and to nothing that runs here."""


@dataclass
class Running:
    """One `.local` folder. `data`: what the portal was made of. `more`: variables for every process of it."""

    local: Path
    data: Path
    stack: Addresses
    more: dict[str, str] = field(default_factory=dict)
    _mongo: MongoClient[Json] | None = None

    @property
    def environment(self) -> dict[str, str]:
        given = {
            "CHATFERRY_LOCAL": str(self.local),
            "CHATFERRY_KAFKA": self.stack.kafka,
            "CHATFERRY_MONGODB": self.stack.mongodb,
            "CHATFERRY_REDIS": self.stack.redis,
            "COLUMNS": "200",
            **OFFICE_PROXY,
        }
        return {**os.environ, **given, **self.more}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command, not waited for."""
        command = [str(Path(sys.executable).parent / "chatferry"), *arguments]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *arguments: str, code: int | None = 0) -> str:
        """What the command says; it must end with that code (None: any)."""
        process = self.start(*arguments)
        try:
            output, _ = process.communicate(timeout=_COMMAND_S)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            raise AssertionError(f"chatferry {' '.join(arguments)} does not end: {output[-3000:]}") from None
        assert code is None or process.returncode == code, f"{process.returncode}: {output[-3000:]}{self.logs()}"
        return output

    def logs(self) -> str:
        """The ends of the services' logs, for a failure."""
        files = sorted((self.local / "logs").glob("*.log")) if self.local.exists() else []
        return "".join(f"\n--- {file.name}\n{file.read_text(errors='replace')[-1200:]}" for file in files)

    def demo(self, *arguments: str, code: int | None = 0) -> str:
        return self.run("demo", "--data", str(self.data), "--bucket", "off", "--keep", *arguments, code=code)

    def status(self) -> Json:
        result: Json = json.loads(self.run("status", "--json"))
        return result

    def report(self, family: str = "chats") -> Json:
        result: Json = json.loads((self.local / "report" / f"{family}.json").read_text(encoding="utf-8"))
        return result

    def pid(self, name: str) -> int:
        """The process of a service, as the supervisor says now."""
        state = json.loads((self.local / "run" / "processes.json").read_text(encoding="utf-8"))
        return int(next(one["pid"] for one in state["processes"] if one["name"] == name))

    def kill(self, name: str) -> None:
        """SIGKILL for a service of this project; waits until it is gone."""
        pid = self.pid(name)
        process = psutil.Process(pid)
        assert f"chatferry.{name}" in command_line(process)
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def down(self) -> None:
        self.run("down", code=None)
        if self._mongo is not None:
            self._mongo.close()

    def database(self, prefix: str = "chatferry_") -> Any:
        """The project's database, or with `chatferry_chat_` that of its target."""
        project = json.loads((self.local / "project.json").read_text(encoding="utf-8"))["name"]
        self._mongo = self._mongo or MongoClient(self.stack.mongodb, tz_aware=True, readConcernLevel="majority")
        return self._mongo[f"{prefix}{project.replace('-', '_')}"]

    def listed(self, entity: str) -> list[Json]:
        """Everything of an entity that the target lists, read with the protocol alone."""
        rest_url_file = json.loads((self.local / "project.json").read_text(encoding="utf-8"))["rest_url_file"]
        url = Path(rest_url_file).read_text(encoding="utf-8").strip()
        family = "users" if entity == "users" else "chats"
        items: list[Json] = []
        after = None
        with httpx.Client(timeout=30) as http:
            while True:
                body = {"entity": entity, "after": after, "limit": 100}
                answer = http.post(f"{url}/import.{family}.list", json=body)
                assert answer.status_code == 200, answer.text
                items += answer.json()["items"]
                after = answer.json()["next"]
                if after is None:
                    return items

    def control(self) -> Control:
        """The control interface of the simulated portal."""
        ready = json.loads((self.local / "logs" / "portal.log").read_text(encoding="utf-8").splitlines()[0])
        return Control(ready["control"])

    def assert_arrived(self) -> None:
        """Record by record, what the target lists is what the folder has: nothing lost, doubled or changed."""
        self._assert_users()
        self._assert_chats()
        self._assert_messages()

    def _assert_users(self) -> None:
        wanted, there = read_folder(self.data, "users"), self._once("users")
        assert wanted.keys() == there.keys()
        for number, user in wanted.items():
            assert (there[number]["name"], there[number]["active"]) == (user["name"], user["active"])

    def _assert_chats(self) -> None:
        wanted, there = read_folder(self.data, "chats"), self._once("chats")
        assert wanted.keys() == there.keys()
        for number, chat in wanted.items():
            assert there[number]["participant_ids"] == chat["participant_ids"]
            assert there[number]["title"] == (None if chat["type"] == "private" else chat["title"])
            assert there[number]["owner_id"] == chat["owner_id"]

    def _assert_messages(self) -> None:
        wanted, there = read_folder(self.data, "messages"), self._once("chat_messages")
        assert wanted.keys() == there.keys()
        for number, message in wanted.items():
            data = there[number]
            assert data["text"] == message["text"]
            assert data["chat_id"] == message["chat_id"]
            assert data["author_id"] == (None if message["system"] else message["author_id"])
            assert data["sent_at"]["source_original"] == message["date"]
            assert data["reply_to"] == message.get("reply_to")
            files = [(file["name"], file["size"]) for file in message.get("attachments", [])]
            assert [(file["name"], file["size_bytes"]) for file in data["files"]] == files

    def _once(self, entity: str) -> dict[int, Json]:
        items = self.listed(entity)
        by_id = {item["data"]["id"]: item["data"] for item in items}
        assert len(by_id) == len(items), f"the target has doubles of {entity}"
        return by_id


@dataclass
class Control:
    """The simulated portal's control interface."""

    url: str

    def change(self, name: str, **arguments: Any) -> Any:
        answer = httpx.post(f"{self.url}/changes/{name}", json=arguments)
        assert answer.status_code == 200, answer.text
        return answer.json().get("result")

    def truth(self) -> Json:
        result: Json = httpx.get(f"{self.url}/truth").json()
        return result


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Poll until it is true; fail with what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def a_project(folder: Path, stack: Addresses, **more: str) -> Iterator[Running]:
    """A folder of records and a place to run in; whatever it started is ended afterwards."""
    running = Running(folder / "local", write_folder(folder / "data"), stack, more)
    try:
        yield running
    finally:
        running.down()
