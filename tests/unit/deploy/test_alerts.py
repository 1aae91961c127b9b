"""The alert rules name metrics that exist, and on-call finds each of them in the operations guide."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from tests.architecture.tree import ROOT
from tests.bench.alerts_prometheus import GROUP
from tests.bench.participants_alerts import CASES

from chatferry.common.clock import SystemClock
from chatferry.common.telemetry.metrics import Metrics
from chatferry.participants.metrics import Watching

_WORDS = frozenset({"sum", "max", "by", "and", "or", "unless", "rate", "increase", "changes", "offset"})
_FUNCTIONS = frozenset({"histogram_quantile", "max_over_time"})
_SUFFIXES = {"counter": "_total", "histogram": "_bucket"}
_OF_PROMETHEUS = frozenset({"up"})


def _rules() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _metrics_in(expression: str) -> set[str]:
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)", " ", expression)
    return set(re.findall(r"[a-z_]{2,}", bare)) - _WORDS - _FUNCTIONS


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_that_the_services_show(rule: dict[str, Any]) -> None:
    metrics = Metrics()
    Watching(metrics, SystemClock())
    shown = {f"{family.name}{_SUFFIXES.get(family.type, '')}" for family in metrics.registry.collect()}
    asked = _metrics_in(rule["expr"])
    assert asked
    assert asked <= shown | _OF_PROMETHEUS


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = yaml.safe_load((ROOT / "deploy/alerts.test.yml").read_text(encoding="utf-8"))["tests"]
    seen = {(one["alertname"], bool(one.get("exp_alerts"))) for case in cases for one in case["alert_rule_test"]}
    assert seen == {(rule["alert"], fires) for rule in _rules() for fires in (True, False)}


def test_every_alert_of_the_participants_service_has_its_cause_in_the_bench_of_alerts() -> None:
    groups = yaml.safe_load((ROOT / "deploy/alerts.yml").read_text(encoding="utf-8"))["groups"]
    rules = [rule["alert"] for group in groups if group["name"] == GROUP for rule in group["rules"]]
    assert sorted(rules) == sorted(case.alert for case in CASES)


def test_every_alert_has_its_section_for_on_call_and_no_section_is_of_an_alert_that_is_gone() -> None:
    guide = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (Chatferry\w+)$", guide, re.MULTILINE) == [rule["alert"] for rule in _rules()]
