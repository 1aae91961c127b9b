"""A record's way begins with the batch that read it: what publishes it says which."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.integration.extractor.extractor_world import Sent, World, remembering

from chatferry.extractor.steps.parts import Parts

pytestmark = pytest.mark.integration


def _id(one: ReadableSpan) -> int:
    context = one.get_span_context()
    assert context is not None
    return context.span_id


@pytest.mark.parametrize("family", ["users", "chats"])
async def test_records_carry_the_span_that_published_them_and_it_is_linked_to_the_batches_that_read_them(
    world: World, spans: InMemorySpanExporter, family: str
) -> None:
    kept: list[Sent] = []

    def hook(parts: Parts) -> Parts:
        parts, sent = remembering(parts)
        kept.append(sent)
        return parts

    await world.get(family, hook)
    finished = spans.get_finished_spans()
    batches = {_id(one) for one in finished if one.name == "portal.batch"}
    published = {_id(one): one for one in finished if one.name == "kafka.publish"}
    carried = {headers["traceparent"].decode().split("-")[2] for headers in kept[0].headers()}
    assert {int(one, 16) for one in carried} == set(published)
    of_family = [one for one in published.values() if (one.attributes or {})["entity"] in (family, "chat_messages")]
    assert of_family
    for one in of_family:
        linked = {link.context.span_id for link in one.links}
        assert linked
        assert linked <= batches
    [run] = [one for one in finished if one.name == "run.get"]
    assert {one.parent.span_id for one in published.values() if one.parent} == {_id(run)}
