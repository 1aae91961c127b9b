"""Planted secrets, phone numbers and texts, under faults of all kinds: they are in no log, metric, span, header or
report. The target is a stranger who quotes records in its errors, MAX fails, and every service logs at DEBUG."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from tests.chaos.counting import MAX_LOG, Counting, counting
from tests.chaos.counting import NAME as COUNTING
from tests.chaos.frame import Chaos, Passed, Site, chaos_project, slowed
from tests.chaos.hostile import CANARY, CODES, PHONE, Collector, Quoting
from tests.chaos.proof import assert_ledger_agrees, command
from tests.integration.whole.running import write_folder

from chatferry.operator.launch import SERVICES

NAME = "secrets"
_DATA = ("dlq", "max.updates")
"""Topics whose bodies are somebody's own; of the others nothing is."""
_TOPICS = ("dlq", "results", "runs", "commands", "participants", "max.updates")
_FAULTS = ("html_502", "cut_body", "reset", "server_error")


_NOT_UNDERSTOOD = (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY)
Topics = dict[str, list[tuple[bytes, bytes]]]
"""By topic: headers and body of each record."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Size of the portal."""

    messages: int
    chats: int


SHORT = Scale(messages=300, chats=6)
LONG = Scale(messages=5_000, chats=40)


@dataclass(frozen=True, slots=True)
class Needle:
    """What must not be found. `holder`: the process that was given it; None: it is in what was moved."""

    kind: str
    text: str
    holder: str | None = None


def disturb(root: Path, seed: int, scale: Scale) -> Passed:
    """Raises AssertionError with where which kind of secret was found; never with the secret."""
    data = _plant(root / "planted", seed, scale)
    with Collector() as collector, Quoting(root) as target:
        own = {"CHATFERRY_LOG_LEVEL": "DEBUG", "CHATFERRY_OTLP_ENDPOINT": collector.url}
        site = Site("secrets", seed, data=data, settings={**slowed(20), **target.settings, **own})
        with chaos_project(root, site, own_stack=True) as chaos, counting(chaos, own) as counter:
            said = [_command(chaos, "migrate", "users")]
            asyncio.run(_write_garbage(chaos))
            _break_the_portal(chaos, seed)
            counter.break_platform()
            counter.go_on()
            said.append(_command(chaos, "migrate", "chats"))
            said += [_command(chaos, *words) for words in (["status"], ["status", "--json"], ["doctor"])]
            letters = chaos.database.dead_letters.count_documents({"state": "dead"})
            assert letters > 0, f"nothing became a dead letter: nothing was tried; {said[1][-1500:]}"
            assert set(target.codes) == set(CODES), f"codes that were given: {sorted(target.codes)}"
            _use_the_counts(chaos, counter)
            assert_ledger_agrees(chaos)
            topics = asyncio.run(_topics(chaos))
            said += _deal_with_the_dead(chaos)
            assert_ledger_agrees(chaos)
            places = dict(_places(chaos, counter, "\n".join(said), topics))
            needles = _needles(chaos, target, counter)
            _assert_handed(chaos, counter, needles, topics)
        places |= {"spans": b"".join(collector.bodies)}
        places |= {file.name: file.read_bytes() for file in _logs(root)}
    _assert_nothing_found(places, needles)
    figures = {
        "planted": len(needles),
        "kinds": len({needle.kind for needle in needles}),
        "places": len(places),
        "bytes": sum(map(len, places.values())),
        "spans-bytes": len(places["spans"]),
        "dead": letters,
        "found": 0,
    }
    return Passed(NAME, seed, figures)


def _assert_nothing_found(places: Mapping[str, bytes], needles: Sequence[Needle]) -> None:
    for what, blob in places.items():
        assert blob, f"{what} is empty: nothing was looked at"
        found = sorted({needle.kind for needle in needles if needle.text.encode() in blob})
        assert not found, f"{what} holds {', '.join(found)}"


def _plant(folder: Path, seed: int, scale: Scale) -> Path:
    """Each message has a word and a number of its own, in ASCII, so that no encoding hides them."""
    write_folder(folder, chats=scale.chats, messages=scale.messages, seed=seed)
    file = folder / "messages.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["text"] = f"{row['text']} {CANARY}{row['id']} +7{PHONE}{row['id']:04} пароль"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return folder


def _needles(chaos: Chaos, target: Quoting, counter: Counting) -> list[Needle]:
    webhooks = Path(chaos.project.webhooks_file).read_text(encoding="utf-8").split()
    taken = (chaos.folder.secrets / "target.secret").read_text(encoding="utf-8").strip()
    return [
        *(Needle("a webhook's secret", hook.rstrip("/").rpartition("/")[2], "extractor") for hook in webhooks),
        *(Needle("the target's secret", target.secret, name) for name in ("importer", "verifier")),
        Needle("the secret that the target takes", taken, "chat"),
        Needle("the token of MAX", counter.token, COUNTING),
        Needle("the secret of MAX's events", counter.webhook, COUNTING),
        Needle("a reader's key", counter.key, COUNTING),
        Needle("a text", CANARY),
        Needle("a phone number", PHONE),
    ]


def _assert_handed(chaos: Chaos, counter: Counting, needles: Sequence[Needle], topics: Topics) -> None:
    """A needle that nobody was given is found nowhere, and proves nothing."""
    holders = {name: process for name in SERVICES if (process := chaos.processes.find(name)) is not None}
    given = {name: _settings_of(process) for name, process in {**holders, COUNTING: counter.process}.items()}
    moved = "\n".join(chaos.target.messages.distinct("text")).encode()
    dead = b"\n".join(value for _, value in topics["dlq"])
    for needle in needles:
        assert len(needle.text) >= len(PHONE), f"{needle.kind} is too short to be looked for"
        where = [given[needle.holder]] if needle.holder else [moved, dead]
        assert all(needle.text.encode() in blob for blob in where), f"{needle.kind} was never there: it proves nothing"


def _settings_of(process: psutil.Process) -> bytes:
    """What it was started with, and what stands in the files that this names."""
    own = {name: value for name, value in process.environ().items() if name.startswith("CHATFERRY_")}
    files = [Path(value) for name, value in own.items() if name.endswith("_FILE")]
    return "\n".join([*own.values(), *(file.read_text(encoding="utf-8") for file in files)]).encode()


def _use_the_counts(chaos: Chaos, counter: Counting) -> None:
    """The token, the key and the secret of events are used, and tried wrongly with what must not be told."""
    text = f"{CANARY}0 +7{PHONE}0000"
    assert counter.read(counter.key) == httpx.codes.OK
    assert counter.read(counter.key, q=text, cursor=text, limit=text) in _NOT_UNDERSTOOD
    assert counter.read(f"{CANARY}{PHONE}") == httpx.codes.UNAUTHORIZED
    assert counter.tell(counter.webhook, f'{{"update_type": "{text}", "x": '.encode()) in _NOT_UNDERSTOOD
    assert counter.tell(f"{CANARY}{PHONE}", b"{}") == httpx.codes.UNAUTHORIZED
    chaos.until(lambda: counter.platform()["faults"], "MAX has failed")
    counted = "a count is announced in spite of MAX's errors"
    chaos.until(lambda: asyncio.run(_topics(chaos))["participants"], counted)


def _deal_with_the_dead(chaos: Chaos) -> list[str]:
    """Every command about dead letters, none of them with --reveal; afterwards all of them are given up."""
    rows = chaos.database.dead_letters.find({}, {"error_class": 1, "code": 1})
    kinds = {(row["error_class"], row["code"]): row["_id"] for row in rows}
    shown = [_command(chaos, "dlq", "show", one) for one in kinds.values()]
    assert all("what people wrote is hidden" in one for one in shown), "a dead letter was not shown"
    said = [_command(chaos, "dlq", "list", *more) for more in ([], ["--each"])]
    said.append(_command(chaos, "dlq", "replay", "--all", "--wait", "20"))
    letters = chaos.database.dead_letters
    assert letters.count_documents({"state": "replayed"}) > 0, said[-1][-1500:]
    said.append(_command(chaos, "dlq", "list", "--each", "--json"))
    # What is still on its way again would die again after the others were given up; and too many that die halt it.
    going = {"state": "replaying"}
    while letters.count_documents(going):
        chaos.until(lambda: _halted(chaos) or not letters.count_documents(going), "the replay is over, or halted")
        said.append(_command(chaos, "dlq", "resume"))
    said.append(_command(chaos, "dlq", "discard", "--all", "--with-children", "--reason", "refused", "--by", "chaos"))
    assert letters.count_documents({"state": "dead"}) == 0, said[-1][-1500:]
    return [*shown, *said, _command(chaos, "status", "--json")]


def _halted(chaos: Chaos) -> bool:
    return bool(chaos.database.entities.count_documents({"halted": {"$type": "string"}}))


def _break_the_portal(chaos: Chaos, seed: int) -> None:
    """Each fault twice, at moments that the seed draws; never three in a row: a portal that is away blocks a run."""
    draw = Random(seed)
    for turn, kind in enumerate(draw.sample(_FAULTS, len(_FAULTS))):
        fault = {"kind": kind, "methods": "*", "count": 2, "skip": 3 + 4 * turn + draw.randrange(2)}
        answer = httpx.post(f"{chaos.control.url}/faults", json=fault)
        assert answer.status_code == httpx.codes.OK, answer.text


async def _write_garbage(chaos: Chaos) -> None:
    """Records that nobody can read: a body, a header and a key with what must not be told."""
    producer = AIOKafkaProducer(bootstrap_servers=chaos.project.kafka)
    await producer.start()
    try:
        topic, text = f"{chaos.project.name}.chat_messages", f"{CANARY}0 +7{PHONE}0000".encode()
        await producer.send_and_wait(topic, b"{ no json " + text, key=b"1")
        await producer.send_and_wait(topic, json.dumps({"text": text.decode()}).encode(), key=b"1")
    finally:
        await producer.stop()


def _command(chaos: Chaos, *words: str) -> str:
    ended = command(chaos, *words, code=None)
    return f"{' '.join(words)}\n{ended.stdout}{ended.stderr}"


async def _topics(chaos: Chaos) -> Topics:
    """Headers, and bodies, of every record of the topics that are not the data itself."""
    consumer = AIOKafkaConsumer(bootstrap_servers=chaos.project.kafka, auto_offset_reset="earliest")
    await consumer.start()
    found: Topics = {}
    try:
        for name in _TOPICS:
            topic = f"{chaos.project.name}.{name}"
            await consumer._client.add_topic(topic)
            partitions = [TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic) or ())]
            assert partitions, topic
            consumer.assign(partitions)
            ends, rows = await consumer.end_offsets(partitions), found.setdefault(name, [])
            while any([await consumer.position(one) < ends[one] for one in partitions]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    rows += [(repr(record.headers).encode(), record.value or b"") for record in records]
        return found
    finally:
        await consumer.stop()


def _places(chaos: Chaos, counter: Counting, said: str, topics: Topics) -> Iterator[tuple[str, bytes]]:
    """Everything that people and machines are shown while it runs."""
    yield "commands", said.encode()
    for name, rows in topics.items():
        yield f"headers of {name}", b"".join(headers for headers, _ in rows)
        if name not in _DATA:
            yield f"topic {name}", b"".join(value for _, value in rows)
    for file in chaos.folder.report.iterdir():
        yield file.name, file.read_bytes()
    for name in (*SERVICES, COUNTING):
        url = (chaos.folder.addresses / f"{name}.url").read_text(encoding="utf-8").strip()
        yield f"metrics of {name}", httpx.get(f"{url}/metrics/", timeout=10).content
        process = counter.process if name == COUNTING else chaos.processes.find(name)
        assert process is not None
        yield f"command line of {name}", " ".join(process.cmdline()).encode()


def _logs(root: Path) -> Iterator[Path]:
    """Of everything but the portal and MAX, which are others'."""
    files = [*(root / "logs").glob("*.log"), *(root / "stack").glob("*.log*")]
    yield from (file for file in files if file.name not in ("portal.log", MAX_LOG) and file.stat().st_size > 0)
