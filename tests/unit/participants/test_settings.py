"""A wrong setting is one line that says which."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from chatferry.common.errors import ConfigurationError
from chatferry.participants.settings import ParticipantsSettings

ENVIRONMENT = {
    "CHATFERRY_PROJECT": "p",
    "CHATFERRY_KAFKA": "kafka:9092",
    "CHATFERRY_MONGODB": "mongodb://mongodb/?replicaSet=rs0",
    "CHATFERRY_REDIS": "redis://redis",
    "CHATFERRY_MAX_EVENTS": "off",
}


def settings(secret: str) -> ParticipantsSettings:
    return ParticipantsSettings.model_construct(max_webhook_secret=SecretStr(secret))


@pytest.mark.parametrize("secret", ["abcd", "a" * 257, "with space", "full.stop", "пароль-бота", "plus+sign"])
def test_a_webhook_secret_that_max_does_not_take_is_named_and_not_printed(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="CHATFERRY_MAX_WEBHOOK_SECRET") as refused:
        settings(secret).webhook_secret()
    assert secret not in str(refused.value)


@pytest.mark.parametrize("secret", ["abcde", "A-z_0123456789", "a" * 256])
def test_a_webhook_secret_that_max_takes_is_taken(secret: str) -> None:
    assert settings(secret).webhook_secret() == secret


@pytest.mark.parametrize("seconds", ["7.5", "0"])
def test_a_wait_for_max_that_a_lease_cannot_outlast_is_refused(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATFERRY_MAX_ANSWER_SECONDS", seconds)
    with pytest.raises(ValidationError, match="max_answer_seconds"):
        ParticipantsSettings(_env_file=None)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PARTICIPANTS_TIMEZONE", "Mars/Olympus", "is no IANA time zone"),
        ("PARTICIPANTS_UPDATE_INTERVAL", "86400", "must not be longer than PARTICIPANTS_SAFETY_INTERVAL"),
        ("CHATFERRY_MAX_URL", "ftp://max", "is not of the form"),
        ("CHATFERRY_MAX_URL", "http://[::1", "is not of the form"),
        ("CHATFERRY_MAX_WEBHOOK_URL", "https://bot:port", "is not of the form"),
        ("CHATFERRY_MAX_EVENTS", "webhook", "CHATFERRY_MAX_WEBHOOK_URL is not set"),
    ],
)
def test_settings_that_cannot_be_together_are_refused_with_what_to_do(
    name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one, said in ENVIRONMENT.items():
        monkeypatch.setenv(one, said)
    monkeypatch.setenv("PARTICIPANTS_SAFETY_INTERVAL", "3600")
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=sentence):
        ParticipantsSettings(_env_file=None)


def test_settings_that_are_right_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for one, said in ENVIRONMENT.items():
        monkeypatch.setenv(one, said)
    assert ParticipantsSettings(_env_file=None).max_events == "off"


@pytest.mark.parametrize(
    ("per_second", "per_hour", "replicas", "wishes"),
    [(27, 97_200, 3, 6.0), (27, 3_600, 1, 2 / 3), (1, 108_000, 4, 1 / 6)],
)
def test_what_readers_bring_about_unasked_leaves_a_third_of_every_budget(
    per_second: int, per_hour: int, replicas: int, wishes: float
) -> None:
    made = ParticipantsSettings.model_construct(
        calls_per_second=per_second, calls_per_hour=per_hour, replicas_max=replicas
    )
    assert made.wishes_per_second == pytest.approx(wishes)
