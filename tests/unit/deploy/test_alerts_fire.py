"""The alerts fire when they should and only then: promtool runs deploy/alerts.test.yml, in `make check` always."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.architecture.tree import ROOT

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not on PATH: install it (Debian: apt-get install prometheus)"
)


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    command = [PROMTOOL, "test", "rules", str(folder / "alerts.test.yml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_make_check_asks_for_the_alerts() -> None:
    assert "\t@tools/check-alerts\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_without_promtool_the_check_says_what_to_install_and_fails(tmp_path: Path) -> None:
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    command = [str(ROOT / "tools" / "check-alerts")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "promtool is not on PATH" in done.stderr


@needs_promtool
def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    done = _run(ROOT / "deploy")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize(
    ("rule", "mutant"),
    [
        ("participants_cache_hit_rate < 0.8", "participants_cache_hit_rate <= 0.8"),
        ("participants_cache_hit_rate < 0.8", "participants_cache_hit_rate < 0.75"),
        ('for: 10m\n        labels: {severity: ticket}\n        annotations: {summary: "{{ $labels.service }}: {{', ""),
        ("> 0.05", "> 0.15"),
        ("> 0.05", "> 0.03"),
        ("> 5)", "> 0)"),
        ("> 5)", "> 25)"),
        ('increase(participants_max_api_errors{kind!~"denied|not_found"}[10m])', "participants_max_api_errors"),
        ('kind!~"denied|not_found"', 'kind!~"none"'),
        ('- sum(increase(participants_max_calls_total{kind="lost"}[10m]))', "- 0"),
        ("> 0.5\n", "> 0.05\n"),
        ("> 0.5\n", "> 0.9\n"),
        ("histogram_quantile(0.95", "histogram_quantile(0.5"),
        ("histogram_quantile(0.95", "histogram_quantile(0.99"),
        ("[10m]))) > 30", "[10m]))) > 40"),
        ("max by (part) (outage) > 0\n        for: 2m", "max by (part) (outage) > 0"),
        ("max by (part) (outage)", 'max by (part) (outage{part!="dead_letters"})'),
        ("or (records_import_err_total unless records_import_err_total offset 10m) > 0", " "),
        ("or (records_rejected_total unless records_rejected_total offset 10m) > 0", " "),
        ("increase(records_rejected_total[10m]) > 0", "vector(0) > 0"),
        ("unless sum by (entity) (increase(records_import_ok_total[15m])) > 0", " "),
        ("unless sum by (entity) (increase(records_import_ok_total[15m])) > 0", "unless on () vector(1)"),
        ('or (portal_requests_total{outcome="limited"} unless', "and (portal_requests_total unless"),
        ("sum(rate(portal_requests_total[10m])) > 0.2", "sum(rate(portal_requests_total[10m])) > 0.1"),
        ("or (verify_sample_mismatch_total unless verify_sample_mismatch_total offset 1h) > 0", " "),
        ("or (target_overtakings_total unless target_overtakings_total offset 1h) > 0", " "),
        ("[15m]) > 3", "[15m]) > 2"),
        ("> 200 * 1024 * 1024\n        for: 5m", "> 200 * 1024 * 1024"),
    ],
)
def test_a_rule_that_was_changed_is_noticed(rule: str, mutant: str, tmp_path: Path) -> None:
    rules = (ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8")
    assert rule in rules
    if not mutant:
        mutant = rule.replace("10m", "1m", 1)
    (tmp_path / "alerts.yml").write_text(rules.replace(rule, mutant), encoding="utf-8")
    shutil.copy(ROOT / "deploy" / "alerts.test.yml", tmp_path)
    assert _run(tmp_path).returncode != 0
