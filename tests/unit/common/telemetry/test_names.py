"""The metrics that the requirements name are on /metrics, under those names and with those labels."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from tests.unit.participants.readers import HandClock

from chatferry.common import service
from chatferry.participants.metrics import Watching

# Design §7; a histogram is shown by its buckets, its sum and its count.
COUNTED = {
    "records_extracted_total": ("entity",),
    "records_import_ok_total": ("entity",),
    "records_import_err_total": ("entity",),
    "retry_attempts_total": ("entity",),
    "verify_sample_mismatch_total": ("entity",),
    "custom_fields_created_total": ("entity",),
    "duration_ms_count": ("entity", "phase"),
}
OF_PARTICIPANTS = {
    "participants_cache_hit_rate": (),
    "participants_update_duration_count": (),
    "participants_max_api_errors": ("kind",),
    "participants_stale_data_count": (),
}


async def _shown(context: service.Context) -> Mapping[str, set[str]]:
    """Labels of every sample on the service's own /metrics, by the sample's name."""
    app = Starlette(routes=service._own_routes(context))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


async def test_the_names_of_the_design_are_all_shown_with_their_labels() -> None:
    context = service.Context()
    metrics = context.metrics
    for counter in (
        metrics.extracted,
        metrics.import_ok,
        metrics.import_err,
        metrics.retries,
        metrics.sample_mismatch,
        metrics.custom_fields,
    ):
        counter.labels(entity="chats").inc()
    for phase in ("get", "set", "verify"):
        metrics.duration.labels(entity="chats", phase=phase).observe(1)
    shown = await _shown(context)
    assert {name: shown.get(name) for name in COUNTED} == {name: set(labels) for name, labels in COUNTED.items()}


async def test_the_names_of_the_participants_are_all_shown_with_their_labels() -> None:
    context = service.Context()
    watching = Watching(context.metrics, HandClock())
    watching.failed("timeout")
    watching.read(1, changed=False, why="audit")
    shown = await _shown(context)
    wanted = {name: set(labels) for name, labels in OF_PARTICIPANTS.items()}
    assert {name: shown.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("records_extracted", ("new and changed", "not those read again")),
        ("retry_attempts", ("asked of the portal again", "to be sent to the target again")),
        ("duration_ms", ("phase of a run", "as the extractor drives it")),
    ],
)
def test_the_help_says_what_is_counted(name: str, words: tuple[str, ...]) -> None:
    said = {family.name: family.documentation for family in service.Context().metrics.registry.collect()}
    assert all(part in said[name] for part in words)
