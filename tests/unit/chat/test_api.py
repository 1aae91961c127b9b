"""What the application tells others of a request."""

from __future__ import annotations

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.requests import Request
from starlette.responses import Response

from chatferry.chat.api import build_api

SECRET = "a-secret-of-nobody"


async def _done(_: Request) -> Response:
    with trace.get_tracer("tests").start_as_current_span("work"):
        return Response(b"{}")


async def test_the_secret_in_the_path_is_in_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    api = build_api(lambda *_: _done, _done)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://target") as http:
        for method in ("import.chats.count", "no.such.method"):
            assert (await http.post(f"/rest/1/{SECRET}/{method}", json={})).status_code == 200
    spans = kept.get_finished_spans()
    assert "work" in {span.name for span in spans}
    assert [span.name for span in spans if SECRET in span.to_json()] == []
