"""A record's way can be followed: from the span that published it through the call to what is written of its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, get_current_span
from tests.unit.chat.fakes import MemoryIds, MemoryRecords
from tests.unit.importer import fakes, machine
from tests.unit.importer.fakes import FakeTarget
from tests.unit.importer.machine import Machine, chat, message

from chatferry.chat.admission import Access, Bodies
from chatferry.chat.api import build_api
from chatferry.chat.flow import Importing, KnownParents
from chatferry.chat.handlers import Calls, Gate
from chatferry.chat.watch import Watch
from chatferry.common.clock import SystemClock
from chatferry.common.contracts.envelope import common_headers
from chatferry.common.telemetry.traces import current_traceparent, span
from chatferry.importer.adapters.target import HttpSettings, HttpTarget
from chatferry.importer.sending import SendRules

SECRET = "a-secret-of-nobody"


def _named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [one for one in spans.get_finished_spans() if one.name == name]


def _context(one: ReadableSpan) -> SpanContext:
    context = one.get_span_context()
    assert context is not None
    return context


def _ids(spans: Iterable[ReadableSpan]) -> set[int]:
    return {_context(one).span_id for one in spans}


def _linked(one: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in one.links}


def _parent(one: ReadableSpan) -> int | None:
    return one.parent.span_id if one.parent is not None else None


def _shipped_target() -> HttpTarget:
    """The importer's adapter in front of the target that we ship, its stores in memory."""
    importing = Importing(MemoryRecords(), MemoryIds(), KnownParents(10), 2**20)
    metrics = cast("Any", SimpleNamespace(count=lambda *_: None, timed=lambda _: span("timed")))
    gate = Gate(Access(b"1", (SECRET.encode(),)), Bodies(each=2**20, most=2**21), Watch(prepared=True), metrics)
    api = build_api(gate.answerer(Calls(importing, cast("Any", None), metrics, 100)), gate.unknown)
    target = HttpTarget(HttpSettings(f"http://target/rest/1/{SECRET}"), SystemClock())
    target._client = httpx.AsyncClient(transport=httpx.ASGITransport(api))
    return target


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, spans: InMemorySpanExporter) -> Machine:
    """A chat and four messages, published in one span each."""
    world = Machine(SendRules(lanes=1, batch_items={"chat_messages": 2}))
    for entity, payloads in {
        "chats": [chat(1)],
        "chat_messages": [message(n * 100 + 1, 1) for n in (1, 2, 3, 4)],
    }.items():
        with span("kafka.publish"):
            common = common_headers("/chatferry/p/portal", datetime(2026, 1, 1, tzinfo=UTC), current_traceparent())
            monkeypatch.setattr(machine, "COMMON", common)
            for payload in payloads:
                world.publish(entity, payload)
    assert len(_named(spans, "kafka.publish")) == 2
    return world


async def test_each_call_is_linked_to_the_spans_that_published_its_records(
    published: Machine, spans: InMemorySpanExporter
) -> None:
    await published.run(3)
    chats, messages = _named(spans, "kafka.publish")
    calls = _named(spans, "import.call")
    assert [(one.attributes or {})["entity"] for one in calls] == ["chats", "chat_messages", "chat_messages"]
    assert [_linked(one) for one in calls] == [_ids([chats]), _ids([messages]), _ids([messages])]
    [delivery] = _named(spans, "import.delivery")
    assert _linked(delivery) == _ids([chats, messages])
    assert {_parent(one) for one in calls} == _ids([delivery])


async def test_the_span_of_the_target_is_a_part_of_the_call_and_holds_no_secret(
    published: Machine, spans: InMemorySpanExporter
) -> None:
    published.target = cast("FakeTarget", _shipped_target())
    await published.run(3)
    assert {d["status"] for d in published.store.documents.values()} == {"IMPORT_OK"}
    calls, served = _named(spans, "import.call"), _named(spans, "import.chats.batch")
    assert [_parent(one) for one in served] == [_context(one).span_id for one in calls]
    assert {_context(one).trace_id for one in served} == {_context(one).trace_id for one in calls}
    assert not any(SECRET in one.to_json() for one in spans.get_finished_spans())


async def test_results_and_statuses_are_written_in_the_trace_of_the_calls_that_they_came_of(
    published: Machine, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    written_in: dict[str, set[int]] = {"results": set(), "statuses": set()}
    imported, mark_done = fakes.FakeEvents.imported, fakes.FakeRecords.mark_done

    async def note_results(self: Any, done: Any) -> None:
        written_in["results"].add(get_current_span().get_span_context().span_id)
        await imported(self, done)

    async def note_statuses(self: Any, entity: Any, done: Any) -> set[str]:
        written_in["statuses"].add(get_current_span().get_span_context().span_id)
        return await mark_done(self, entity, done)

    monkeypatch.setattr(fakes.FakeEvents, "imported", note_results)
    monkeypatch.setattr(fakes.FakeRecords, "mark_done", note_statuses)
    await published.run(3)
    settled, calls = _named(spans, "import.settle"), _named(spans, "import.call")
    assert written_in == {"results": _ids(settled), "statuses": _ids(settled)}
    assert set().union(*(_linked(one) for one in settled)) == _ids(calls)
    assert {_parent(one) for one in settled} == _ids(_named(spans, "import.delivery"))


async def test_what_dies_alone_in_its_call_is_settled_with_a_link_to_that_call(
    published: Machine, spans: InMemorySpanExporter
) -> None:
    published.target.poison = {"source:chat:msg:301"}
    await published.run(30)
    assert len(published.store.dead) == 1
    calls, settled = _named(spans, "import.call"), _named(spans, "import.settle")
    last = max((one for one in calls if (one.attributes or {})["records"] == 1), key=lambda one: one.start_time or 0)
    assert any(_linked(one) & _ids([last]) for one in settled)


async def test_what_has_waited_is_delivered_in_a_span_that_is_linked_to_where_it_was_published(
    published: Machine, spans: InMemorySpanExporter
) -> None:
    published.target.errors = {"source:chat:msg:201": (1, True)}
    await published.run(30)
    assert {d["status"] for d in published.store.documents.values()} == {"IMPORT_OK"}
    _, messages = _named(spans, "kafka.publish")
    drained = _named(spans, "import.drain")
    assert drained
    assert {frozenset(_linked(one)) for one in drained} == {frozenset(_ids([messages]))}
    within = [one for one in _named(spans, "import.call") if _parent(one) in _ids(drained)]
    assert within
    assert any(_parent(one) in _ids(drained) for one in _named(spans, "import.settle"))


async def test_spans_are_counted_by_batches_and_not_by_records(spans: InMemorySpanExporter) -> None:
    world = Machine(SendRules(lanes=1, batch_items={"chat_messages": 100}))
    world.at_once = 2_000
    world.publish_chat(1, 1_000)
    await world.run(3)
    assert len(world.target.stored) == 1_001
    assert len(spans.get_finished_spans()) <= 1 + 2 * 11


async def test_a_line_of_what_died_names_the_trace_in_which_that_was_written_down(
    published: Machine, spans: InMemorySpanExporter, said: Callable[[], list[dict[str, Any]]]
) -> None:
    published.target.errors = {"source:chat:msg:201": (9, False)}
    await published.run(3)
    [line] = [one for one in said() if one["event"] == "records.dead"]
    assert line["trace_id"] in {f"{_context(one).trace_id:032x}" for one in _named(spans, "import.settle")}
