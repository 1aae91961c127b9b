"""OTLP traces: one span per call or batch, linked to the contexts of the messages in it; never a span per message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

_PROPAGATOR = TraceContextTextMapPropagator()
_MOST_LINKS = 64


def configure_traces(service: str, project: str, endpoint: str | None) -> None:
    """Export spans to an OTLP/HTTP collector; without an endpoint spans cost next to nothing and go nowhere."""
    if endpoint is None:
        return
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"chatferry-{service}", "chatferry.project": project})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)


@contextmanager
def span(
    name: str, traceparents: Iterable[str] = (), *, within: str | None = None, **attributes: AttributeValue
) -> Iterator[Span]:
    """A span around a call or a batch. `traceparents`: W3C contexts of the messages in it, linked once each.

    `within`: the W3C context of whoever asks for it over HTTP: the span is a part of that one, and of its trace.
    """
    links = [
        Link(context) for parent in sorted(set(traceparents))[:_MOST_LINKS] if (context := _context(parent)) is not None
    ]
    with trace.get_tracer("chatferry").start_as_current_span(
        name,
        context=_PROPAGATOR.extract({"traceparent": within}) if within else None,
        links=links,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as failure:
            # Only the type: an exception's text may quote a record or a URL.
            current.set_attribute("error.type", type(failure).__name__)
            raise


def current_traceparent() -> str | None:
    """The W3C `traceparent` of the present span, None when nothing is traced."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def _context(traceparent: str) -> trace.SpanContext | None:
    context = trace.get_current_span(_PROPAGATOR.extract({"traceparent": traceparent})).get_span_context()
    return context if context.is_valid else None
