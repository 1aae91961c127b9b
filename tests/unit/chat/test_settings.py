"""A wrong setting is one line that says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatferry.chat.settings import ChatSettings
from chatferry.common.errors import ConfigurationError
from chatferry.common.settings import load_settings


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATFERRY_MONGODB", "mongodb://127.0.0.1:1/")
    monkeypatch.setenv("CHATFERRY_CHAT_WEBHOOK_SECRET", "abcdefgh12345678")


def test_the_target_has_a_database_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATFERRY_PROJECT", "acme-eu")
    assert load_settings(ChatSettings).database == "chatferry_chat_acme_eu"


def test_kafka_and_redis_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHATFERRY_KAFKA", raising=False)
    assert load_settings(ChatSettings).chat_webhook_user == "1"


def test_secrets_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("new-secret-1\nold-secret-1\n")
    monkeypatch.delenv("CHATFERRY_CHAT_WEBHOOK_SECRET")
    monkeypatch.setenv("CHATFERRY_CHAT_WEBHOOK_SECRET_FILE", str(file))
    assert load_settings(ChatSettings).webhook_secrets == ["new-secret-1", "old-secret-1"]


def test_a_missing_secret_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHATFERRY_CHAT_WEBHOOK_SECRET")
    with pytest.raises(ConfigurationError, match="CHATFERRY_CHAT_WEBHOOK_SECRET is not set"):
        load_settings(ChatSettings)


@pytest.mark.parametrize("secret", ["short", "with/slash-1234", "with space 1234", ""])
def test_a_secret_that_fits_no_url_is_refused_without_being_printed(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("CHATFERRY_CHAT_WEBHOOK_SECRET", secret)
    with pytest.raises(ConfigurationError) as refused:
        load_settings(ChatSettings)
    assert not secret or secret not in refused.value.sentence


def test_limits_are_checked_against_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATFERRY_BODIES_BYTES_MAX", "2048")
    with pytest.raises(ConfigurationError, match="CHATFERRY_BODIES_BYTES_MAX"):
        load_settings(ChatSettings)
