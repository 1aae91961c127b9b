"""A stranger's ledger: recomputed from MongoDB, Kafka, the target and the portal's data, with no code of chatferry.

    .venv/bin/chatferry status --json | .venv/bin/python tools/check_ledger.py --status - [--portal-data DIR]

records     read = done + skipped + dead + waiting, for each entity and chat. Read is the ids of closed walks: pages of
            `page_log` leave no hole, do not overlap, and hold as many stored records as they had. Statuses say what
            imported versions say, what is dead has its dead letter, payloads give their hashes. `status` says the same.
deliveries  each offset below the committed one is a (key, version) that is imported, superseded or skipped, or has a
            row in `parked` or `dead_letters`. A record that waits is due, parked, to come on its topic or being
            replayed; no dead letter outlives the arrival of its record.
target      all that the protocol lists: each key once, version and hash as the record's, the hash computed anew.
portal      --portal-data (the folder that it was made of) or --portal-control (a simulator's control address): the
            same ids, and each record equal in every field (`ledger_expected.py`).
In mid-run each chat is one snapshot, offsets are read before records and these before the target, and a difference is
looked at again: what moves counts as waiting. A walk that is not closed counts what it has stored as read.
Cannot prove: what a portal hid from every webhook (the inventory's `gap`); offsets that compaction took (counted: a
newer record of the key came later); what people changed on the portal after it was read (stop them, or run again).
Names keys and fields, never contents. `status` shows no password: that of MongoDB comes from CHATFERRY_MONGODB.
Ends with 0: all agrees, 1: something does not, 2: it could not look.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from aiokafka.errors import KafkaError
from pymongo import MongoClient
from pymongo.errors import PyMongoError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.ledger_expected import Row
from tools.ledger_offsets import Offsets
from tools.ledger_portal import PREFIX, Portal

Sides = Counter[str]
# Parts that are away, a status of another form, an address that is none.
UNSEEN = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, subprocess.SubprocessError),
    *(httpx.HTTPError, httpx.InvalidURL, KafkaError, PyMongoError),
)
ENDS, LIVING, LOOKS, SHOWN = {"IMPORT_OK": "done", "IMPORT_ERR": "dead"}, ["dead", "replaying"], 5, 200


def sha(payload: Row) -> str:
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def with_password(shown: str) -> str:
    """`status` shows no password: CHATFERRY_MONGODB has it, if it names the same server."""
    given = os.environ.get("CHATFERRY_MONGODB", "")
    bare = re.sub(r"(?i)([?&]\w*password=)[^&]*", r"\1…", re.sub(r"//.*@", "//", given))
    return given if bare == shown else shown


def wrong(doc: Row | None, item: Row | None) -> str | None:
    """What does not agree between a record and what the target has of it."""
    imported = (doc and doc.get("imported_version")) or 0
    if doc is None or item is None:
        return "at the target, but no record" if doc is None else "missing at the target" if imported else None
    if sha(item["data"]) != item["hash"]:
        return "the target's data do not give its hash"
    if item["version"] == doc["version"]:
        return None if item["hash"] == doc["payload_hash"] else "another hash at the target"
    if item["version"] == imported and item["hash"] != doc.get("imported_hash"):
        return "another hash at the target than was imported"
    return None if imported <= item["version"] < doc["version"] else "another version at the target"


class Check:
    """`found`: what does not agree. `still`: no run is under way, so nothing may move."""

    def __init__(self, status: Row, portal: Portal | None) -> None:
        self.status, self.portal, self.project = status, portal, status["project"]
        self.client: MongoClient[Row] = MongoClient(with_password(status["mongodb"]["url"]), tz_aware=True)
        self.db = self.client[status["mongodb"]["database"]]
        self.url = Path(status["target"]["rest_url_file"]).read_text(encoding="utf-8").strip()
        self.http, self.found = httpx.Client(timeout=60, trust_env=False), list[str]()
        self.accounts, self.chats = {name: Sides() for name in PREFIX}, dict[str, Sides]()
        self.newest = self.db.runs.find_one({}, sort=[("requested_at", -1)]) or {}
        self.still = self.newest.get("state") not in ("requested", "running")
        if portal is not None:
            portal.moving = not self.still

    def say(self, where: str, what: str) -> None:
        self.found.append(f"{where}: {what}")

    def ask(self, entity: str, verb: str, **body: Any) -> Row:
        url = f"{self.url}/import.{'users' if entity == 'users' else 'chats'}.{verb}"
        return dict(self.http.post(url, json={"entity": entity, **body}).raise_for_status().json())

    def listed(self, entity: str, **parent: str) -> Iterator[Row]:
        page: Row = {"next": None}
        while "items" not in page or page["next"] is not None:
            page = self.ask(entity, "list", after=page["next"], limit=500, **parent)
            yield from page["items"]

    def everything(self) -> None:
        """Records, target and portal; deliveries come before, for their offsets are read first."""
        for entity in ("users", "chats"):
            self.group(entity, None)
        rows = self.db.source_inventory.find({"kind": "root"}, {"seq": 1}).sort("seq", 1)
        known = {row["seq"] for row in rows}
        for chat in sorted(known | set(self.db.chat_messages.distinct("parent"))):
            self.group("chat_messages", chat)
        if self.ask("chat_messages", "count")["count"] != self.accounts["chat_messages"]["target"]:
            for item in self.listed("chat_messages"):
                if not self.db.chat_messages.find_one({"_id": item["key"]}, {"_id": 1}):
                    self.look_again("chat_messages", item["key"])

    def group(self, entity: str, chat: int | None) -> None:
        """The records under one chat, or all of a root entity, in one snapshot; then what the target has of them."""
        key, docs, here, pages = f"{PREFIX['chats']}{chat}", dict[int | str, Row](), Row(), list[Row]()
        sides, where = Sides(), entity if chat is None else key
        with self.client.start_session(snapshot=True) as session:
            dead = {"entity": entity, "parent": chat, "state": {"$in": LIVING}}
            letters = {(row["key"], row["version"]) for row in self.db.dead_letters.find(dead, session=session)}
            for doc in self.db[entity].find({"parent": chat}, session=session):
                payload = doc.pop("payload")
                if payload is not None and sha(payload) != doc["payload_hash"]:
                    self.say(doc["_id"], "its payload does not give its payload_hash")
                docs[doc["seq"] or doc["_id"]] = doc
            if chat is not None:
                here = self.db.source_inventory.find_one({"_id": key}, session=session) or {}
                log = {"run": here.get("run"), "parent": chat, "entity": entity}
                pages = sorted(self.db.page_log.find(log, session=session), key=lambda page: int(page["lo"]))
            sides["read"] = len(docs) if chat is not None else self.roots_read(entity, docs, session)
        for doc in docs.values():
            self.status_of(doc, letters)
            skipped = f"skipped {doc.get('skip_reason')}" if doc["status"] == "SKIPPED" else "waiting"
            sides[ENDS.get(doc["status"], skipped)] += 1
        if chat is not None and (not here or (here["state"] == "closed" and not here["walk"].get("limited"))):
            sides["read"] = sum(here.get(name, 0) for name in ("listed", "absent", "rejected"))
            self.walk(key, here, pages)
        # Rejects without an id that are no more on the portal are in no interval: the last page counts them.
        seqs = sorted(doc["seq"] for doc in docs.values())
        vanished = seqs.count(0) - here.get("rejected", 0)
        for page in pages:
            top = page["hi"] if page["hi"] <= (here.get("watermark") or 0) else 2**63
            stored = bisect_left(seqs, top) - bisect_left(seqs, max(page["lo"], 1))
            if page["count"] + page["absent"] - stored not in (0, max(vanished, 0)):
                self.say(key, f"page_log's page {page['lo']} to {page['hi'] - 1} had other records than are stored")
        if sides["read"] != len(docs):
            self.say(where, f"{sides['read']} read, but {len(docs)} done, skipped, dead or waiting")
        there = self.at_target(entity, docs, {} if chat is None else {"parent": key})
        sides["target"] = len(there)
        if self.portal is not None:
            sides["portal"] = self.portal.compare(entity, here, docs, there, self.say)
        self.accounts[entity] += sides
        self.chats |= {} if chat is None else {key: sides}

    def status_of(self, doc: Row, letters: set[tuple[str, int]]) -> None:
        imported, version = doc.get("imported_version") or 0, doc["version"]
        if (doc["status"] == "IMPORT_OK") != (imported == version) or imported > version:
            self.say(doc["_id"], f"status {doc['status']}, but version {version} and imported_version {imported}")
        elif imported == version and doc["imported_hash"] != doc["payload_hash"]:
            self.say(doc["_id"], "imported_hash is not payload_hash")
        if doc["status"] == "IMPORT_ERR" and (doc["_id"], version) not in letters:
            self.say(doc["_id"], f"version {version} is dead without a dead letter")

    def roots_read(self, entity: str, docs: dict[int | str, Row], session: Any) -> int:
        """Roots that were read whole; of a list or a chat that is under way, what is stored."""
        fields = dict.fromkeys(("kind", "seq", "state", "stored", "whole", "listed", "absent", "rejected"), 1)
        mine = {"$or": [{"entity": entity}, {"of": entity}]}
        rows = list(self.db.source_inventory.find(mine, fields, session=session))
        if entity == "chats":
            # Rows of the list that named no chat are rejects.
            named = [(row.get("seq") or row["_id"].removeprefix("reject:"), row) for row in rows]
            return sum(bool(row["stored"]) or name in docs for name, row in named if row["kind"] in ("root", "reject"))
        met = sum(row["state"] == "resolved" or row["seq"] in docs for row in rows if row["kind"] == "stranger")
        listing = next((row for row in rows if row["kind"] == "listing"), None)
        if listing is None or listing["state"] != "closed" or not listing["whole"]:
            return len(docs)
        return int(listing["listed"] + listing["absent"] + listing["rejected"] + met)

    def walk(self, key: str, here: Row, pages: list[Row]) -> None:
        """The intervals of a closed walk follow one another from 1 to its watermark, and hold what was listed."""
        end = 1
        for page in pages:
            low = max(page["lo"], 1)
            if low != end and page["hi"] > low:
                what = "a hole" if low > end else "an overlap"
                self.say(key, f"page_log has {what} from {min(low, end)} to {max(low, end) - 1}")
            end = max(end, page["hi"])
        if here and end != here["watermark"] + 1:
            self.say(key, f"page_log ends at {end - 1}, the walk at {here['watermark']}")
        counts = {name: sum(page[name] for page in pages) for name in ("count", "rejected", "absent")}
        listed = {"count": here.get("listed", 0), "rejected": here.get("rejected", 0)}
        if {**counts, **listed} != counts or counts["absent"] > here.get("absent", 0):
            self.say(key, f"page_log counts {counts}, the inventory {listed}")

    def at_target(self, entity: str, docs: dict[int | str, Row], parent: dict[str, str]) -> dict[int, Row]:
        """What the target lists, by id, each compared with its record."""
        there: dict[int, Row] = {}
        for item in self.listed(entity, **parent):
            number = item["data"]["id"]
            if number in there:
                self.say(item["key"], "listed twice by the target")
            there[number] = item["data"]
            if item["key"] != f"{PREFIX[entity]}{number}" or wrong(docs.get(number), item):
                self.look_again(entity, item["key"])
        for number, doc in docs.items():
            if number not in there and doc.get("imported_version"):
                self.look_again(entity, doc["_id"])
        return there

    def look_again(self, entity: str, key: str) -> None:
        """What has moved since agrees by now; what does not is named, with the fields that differ."""
        doc: Row | None = None
        for _ in range(LOOKS):
            doc = self.db[entity].find_one({"_id": key})
            item = next(iter(self.ask(entity, "get", keys=[key])["items"]), None)
            what = wrong(doc, item)
            if what is None:
                return
        payload = (doc or {}).get("payload") or {}
        fields = [name for name, value in (item or {"data": {}})["data"].items() if payload and payload[name] != value]
        self.say(key, f"{what} {', '.join(fields)}".strip())

    def status_agrees(self) -> None:
        """Two ways to the same numbers, if nothing has moved between them."""
        runs = self.status.get("runs") or [{}]
        if not self.still or (runs[0].get("run"), runs[0].get("state")) != (
            self.newest.get("_id"),
            self.newest.get("state"),
        ):
            return
        for entity, said in self.status.get("ledger", {}).items():
            self.same(f"status of {entity}", said, self.accounts[entity])
        for row in self.status.get("ledger_per_parent", {}).get("chat_messages", {}).get("rows", ()):
            self.same(f"status of {row['key']}", row, self.chats.get(row["key"], Sides()))

    def same(self, where: str, said: Row, sides: Sides) -> None:
        skipped = {name.removeprefix("skipped "): count for name, count in sides.items() if name.startswith("skipped ")}
        found = {"skipped": skipped, **{name: sides[name] for name in ("read", "done", "dead", "waiting")}}
        if {name: said[name] for name in found} != found:
            self.say(where, f"it says otherwise than {found}")


def table(title: str, rows: dict[str, Sides], columns: tuple[str, ...]) -> None:
    print("".join([f"{title:<16}", *(f"{name:>12}" for name in columns)]))
    for name, sides in rows.items():
        skipped = sum(count for side, count in sides.items() if side.startswith("skipped "))
        counts = {**sides, "skipped": skipped + sides["skipped"]}
        print("".join([f"{name:<16}", *(f"{counts.get(column, 0):>12,}" for column in columns)]))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--status", help="file with what `chatferry status --json` says; -: standard input")
    parser.add_argument("--portal-data", type=Path, help="folder that the portal was made of")
    parser.add_argument("--portal-control", help="control address of a simulated portal")
    given = parser.parse_args()
    command = [str(Path(sys.executable).parent / "chatferry"), "status", "--json"]
    try:
        if given.status is None:
            text = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()
        else:
            text = sys.stdin.read() if given.status == "-" else Path(given.status).read_text(encoding="utf-8")
        portal = Portal(given.portal_data, given.portal_control) if given.portal_data or given.portal_control else None
        check = Check(json.loads(text), portal)
        offsets = Offsets(check.db, check.status, check.still, check.say)
        asyncio.run(offsets.read())
        check.everything()
        check.status_agrees()
    except UNSEEN as no:
        hint = "; if MongoDB asks for a password, set CHATFERRY_MONGODB" if isinstance(no, PyMongoError) else ""
        print(f"could not look: {type(no).__name__}{hint}", file=sys.stderr)  # an address may hold a secret
        return 2
    table("records", check.accounts, ("read", "done", "skipped", "dead", "waiting", "target", "portal"))
    table(
        "deliveries",
        offsets.topics,
        ("imported", "superseded", "skipped", "parked", "dead", "nowhere", "compacted", "to come"),
    )
    print(*sorted(check.found)[:SHOWN], sep="\n", end="\n" if check.found else "")
    asked = "" if portal else "; the portal was not asked (--portal-data)"
    print(f"{len(check.found)} do not agree{asked}" if check.found else f"all of it agrees{asked}")
    return 1 if check.found else 0


if __name__ == "__main__":
    sys.exit(main())
