"""A wrong setting of the importer is one line that says which, before anything is begun."""

from __future__ import annotations

import pytest

from chatferry.common.errors import ConfigurationError
from chatferry.common.settings import load_settings
from chatferry.importer.settings import ImporterSettings

SECRET = "abcsecretdef"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATFERRY_MONGODB", "mongodb://127.0.0.1:1/")
    monkeypatch.setenv("CHATFERRY_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("CHATFERRY_REDIS", "redis://127.0.0.1:1/0")


def test_waits_are_a_json_list_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATFERRY_RETRY_DELAYS_SECONDS", "[0, 2.5]")
    assert load_settings(ImporterSettings).retry_delays_seconds == (0, 2.5)


@pytest.mark.parametrize("value", ["2,6", "[-5]", "[1e400]", "[NaN]", "[1e300]"])
def test_a_wait_that_nobody_can_wait_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CHATFERRY_RETRY_DELAYS_SECONDS", value)
    with pytest.raises(ConfigurationError, match=r"^CHATFERRY_RETRY_DELAYS_SECONDS\b"):
        load_settings(ImporterSettings)


@pytest.mark.parametrize("host", ["[::1", "host:port", "host:99999", "host\x01"])
def test_a_target_that_cannot_be_asked_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("CHATFERRY_TARGET_URL", f"http://{host}/rest/1/{SECRET}")
    with pytest.raises(ConfigurationError, match="CHATFERRY_TARGET_URL is not of the form") as wrong:
        load_settings(ImporterSettings).target()
    assert SECRET not in wrong.value.sentence
