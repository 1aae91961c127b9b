"""The metrics that the requirement names, under exactly those names, and what they say."""

from __future__ import annotations

import math

import pytest
from prometheus_client import generate_latest
from tests.unit.participants.readers import HOUR_MS, NOW_MS, HandClock, confirmed, entry

from chatferry.common.health import Health
from chatferry.common.telemetry.metrics import Metrics
from chatferry.participants.domain.counts import Mark
from chatferry.participants.flow.parts import Watch
from chatferry.participants.metrics import Watching


def _watching() -> tuple[Watching, Metrics, HandClock]:
    metrics, clock, health = Metrics(), HandClock(), Health()
    metrics.show_outages(health.parts)
    return Watching(metrics, clock, health), metrics, clock


def _shown(metrics: Metrics, name: str, **labels: str) -> float:
    value = metrics.registry.get_sample_value(name, labels)
    assert value is not None, name
    return value


def test_it_is_what_the_story_tells() -> None:
    told: Watch = _watching()[0]
    told.max_away(None)


def test_the_names_of_the_requirement_are_shown_as_they_are() -> None:
    watching, metrics, _ = _watching()
    watching.failed("timeout")
    watching.read(1, changed=False, why="audit")
    text = generate_latest(metrics.registry).decode()
    lines = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert {
        "participants_cache_hit_rate",
        "participants_update_duration_bucket",
        "participants_max_api_errors",
        "participants_stale_data_count",
    } <= lines
    assert "# TYPE participants_update_duration histogram" in text
    assert "participants_max_api_errors_total" not in lines


def test_each_kind_of_failure_and_call_is_shown_before_the_first_so_that_a_first_burst_is_a_rise() -> None:
    _, metrics, _ = _watching()
    kinds = ("connection", "certificate", "timeout", "server", "status", "body", "busy", "refused")
    for kind in (*kinds, "denied", "not_found"):
        assert _shown(metrics, "participants_max_api_errors", kind=kind) == 0
    for kind in ("chat", "lost", "membership", "subscription", "updates"):
        assert _shown(metrics, "participants_max_calls_total", kind=kind) == 0


def test_the_hit_rate_is_that_of_the_last_five_minutes() -> None:
    watching, metrics, clock = _watching()
    watching.served(0, 100, [])
    clock.seconds += 290
    watching.served(50, 0, [])
    assert _shown(metrics, "participants_cache_hit_rate") == pytest.approx(50 / 150)
    clock.seconds += 20
    assert _shown(metrics, "participants_cache_hit_rate") == 1.0
    watching.served(0, 50, [])
    assert _shown(metrics, "participants_cache_hit_rate") == 0.5


def test_where_nobody_reads_there_is_no_hit_rate() -> None:
    watching, metrics, clock = _watching()
    assert math.isnan(_shown(metrics, "participants_cache_hit_rate"))
    watching.served(0, 5, [])
    clock.seconds += 400
    assert math.isnan(_shown(metrics, "participants_cache_hit_rate"))


def test_an_update_of_thirty_seconds_is_told_from_a_longer_one() -> None:
    watching, metrics, _ = _watching()
    watching.read(30.0, changed=True, why="event")
    watching.read(30.1, changed=True, why="event")
    assert _shown(metrics, "participants_update_duration_bucket", le="30.0") == 1
    assert _shown(metrics, "participants_update_duration_count") == 2


def test_changes_that_events_missed_are_those_that_an_audit_has_found() -> None:
    watching, metrics, _ = _watching()
    watching.heard(0.2)
    watching.read(1, changed=False, why="event")
    watching.read(1, changed=True, why="event")
    watching.read(1, changed=True, why="audit")
    watching.read(1, changed=True, why="other")
    watching.read(1, changed=False, why="audit")
    found = {
        by: _shown(metrics, "participants_changes_total", by=by) for by in ("event", "correction", "audit", "other")
    }
    assert found == {"event": 1, "correction": 1, "audit": 1, "other": 1}
    assert _shown(metrics, "participants_reads_total", why="audit") == 2
    assert _shown(metrics, "participants_reads_total", why="event") == 2


async def test_stale_are_linked_chats_whose_count_is_neither_fresh_nor_frozen() -> None:
    watching, metrics, _ = _watching()
    chats = [
        entry(1, max_chat=-1, counted=confirmed(5)),
        entry(2, max_chat=-2, counted=confirmed(5, age_s=3_601)),
        entry(3, max_chat=-3, counted=confirmed(5, mark=Mark.PROVISIONAL)),
        entry(4, max_chat=-4, counted=confirmed(5, age_s=9_999, mark=Mark.FROZEN)),
        entry(5, max_chat=-5, counted=confirmed(5, mark=Mark.DENIED)),
        entry(6, max_chat=-6),
        entry(7),
    ]
    await watching.look(chats * 200, NOW_MS, HOUR_MS)
    assert _shown(metrics, "participants_stale_data_count") == 4 * 200
    assert _shown(metrics, "participants_linked_chats") == 6 * 200


async def test_calls_are_counted_by_kind_and_for_each_chat_and_hour() -> None:
    watching, metrics, clock = _watching()
    watching.called("chat")
    assert math.isnan(_shown(metrics, "participants_max_calls_per_chat_hour"))
    await watching.look([entry(1, max_chat=-1), entry(2, max_chat=-2), entry(3)], NOW_MS, HOUR_MS)
    clock.seconds += 1_800
    watching.called("membership")
    watching.called("chat")
    assert _shown(metrics, "participants_max_calls_total", kind="chat") == 2
    assert _shown(metrics, "participants_max_calls_per_chat_hour") == 1.5
    clock.seconds += 1_860
    assert _shown(metrics, "participants_max_calls_per_chat_hour") == 1.0


def test_while_max_is_away_the_outage_shows() -> None:
    watching, metrics, _ = _watching()
    watching.max_away("MAX does not answer")
    assert _shown(metrics, "outage", part="max") == 1
    watching.max_away(None)
    assert _shown(metrics, "outage", part="max") == 0


def test_while_max_sends_no_events_the_outage_shows_and_readyz_says_why() -> None:
    metrics, health = Metrics(), Health()
    metrics.show_outages(health.parts)
    watching = Watching(metrics, HandClock(), health)
    watching.unsubscribed("MAX does not take the subscription")
    assert _shown(metrics, "outage", part="subscription") == 1
    assert health.outages == {"subscription": "MAX does not take the subscription"}
    watching.unsubscribed(None)
    assert _shown(metrics, "outage", part="subscription") == 0
    assert health.outages == {}


def test_the_ages_of_served_counts_give_their_quantiles() -> None:
    watching, metrics, _ = _watching()
    watching.served(3, 0, [0.5, 3_600, 7_000])
    assert _shown(metrics, "participants_served_age_seconds_bucket", le="3600.0") == 2
    assert _shown(metrics, "participants_served_age_seconds_count") == 3
