"""A wrong setting is one line that names the variable and its form, and quotes no secret."""

from __future__ import annotations

import pytest
from pydantic import Field, SecretStr

from chatferry.common.errors import ConfigurationError
from chatferry.common.settings import ServiceSettings, is_http_url, load_settings

SECRET = "abcsecretdef"


class Unit(ServiceSettings):
    """Settings of a service that does not exist."""

    pauses: tuple[float, ...] = Field(default=(1.0,), description="Pauses, as a JSON list: [2, 6].")
    pace: float = Field(default=1.0, gt=0, description="Steps a second.")
    word: SecretStr | None = Field(default=None, description="A secret.")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATFERRY_MONGODB", "mongodb://127.0.0.1:1/")
    monkeypatch.setenv("CHATFERRY_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("CHATFERRY_REDIS", "redis://127.0.0.1:1/0")


def refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> str:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as wrong:
        load_settings(Unit)
    return wrong.value.sentence


@pytest.mark.parametrize("value", ["2,6", "[2; 6]", "{chats:1}"])
def test_what_is_no_json_is_answered_with_the_variable_and_its_form(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    sentence = refused(monkeypatch, "CHATFERRY_PAUSES", value)
    assert "CHATFERRY_PAUSES is not JSON" in sentence
    assert "as a JSON list: [2, 6]" in sentence
    assert value not in sentence


def test_one_of_a_list_that_is_wrong_is_told_of_the_whole_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, "CHATFERRY_PAUSES", '[1, "x"]').startswith("CHATFERRY_PAUSES: ")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CHATFERRY_PAUSES", "[1e400]"),
        ("CHATFERRY_PAUSES", "[NaN]"),
        ("CHATFERRY_PACE", "inf"),
        ("CHATFERRY_PACE", "nan"),
    ],
)
def test_no_number_is_without_end(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    assert "finite" in refused(monkeypatch, variable, value)


@pytest.mark.parametrize(
    "url",
    [
        f"127.0.0.1:6379/{SECRET}",
        f"redis://:{SECRET}@h:port/0",
        f"redis://:{SECRET}@[::1",
        f"http://{SECRET}@h/",
        f"redis://h/{SECRET}",
        f"redis://:{SECRET}@h/0/1",
    ],
)
def test_an_address_of_redis_that_cannot_be_read_is_not_repeated(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    sentence = refused(monkeypatch, "CHATFERRY_REDIS", url)
    assert "CHATFERRY_REDIS" in sentence
    assert "redis://host:6379/0" in sentence
    assert SECRET not in sentence


@pytest.mark.parametrize("url", ["redis://h", "rediss://me:p%40ss@h:6380/1?health_check_interval=5", "unix:///run/r"])
def test_any_address_that_redis_has_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CHATFERRY_REDIS", url)
    assert load_settings(Unit).redis.get_secret_value() == url


@pytest.mark.parametrize(
    "address",
    ["", " ", "nonsense", "h:xx", "h:", ":9092", "h:0", "h:65536", "h:1,", "h:1 i:2", "::1:9092", "[::1]", "u@h:1"],
)
def test_an_address_of_kafka_that_cannot_be_asked_is_told_with_its_form(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    sentence = refused(monkeypatch, "CHATFERRY_KAFKA", address)
    assert sentence.startswith("CHATFERRY_KAFKA: ")
    assert "host:port" in sentence


@pytest.mark.parametrize(
    "address", ["k:9092", "k-1.internal:9092,10.0.0.2:9093, k_3:1", "[::1]:9092,[fe80::1%eth0]:65535"]
)
def test_an_address_of_kafka_is_one_broker_or_several(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("CHATFERRY_KAFKA", address)
    assert load_settings(Unit).kafka == address


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://portal.test/rest/1/s", True),
        ("HTTP://127.0.0.1:8080", True),
        ("http://[::1]:8080/x", True),
        ("http://пример.рф/x", True),
        ("http://host:port/x", False),
        ("http://host:99999/x", False),
        ("http://[::1/x", False),
        ("http://[zz]/x", False),
        ("http://999.1.1.1/x", False),
        ("http://host/s\x01", False),
        ("http://ho st/x", False),
        ("ftp://host/x", False),
        ("http:///x", False),
        ("host:80", False),
        ("", False),
    ],
)
def test_an_address_over_http_is_one_that_can_be_asked(url: str, asked: bool) -> None:
    assert is_http_url(url) is asked


@pytest.mark.parametrize("url", [f"me:{SECRET}@h:27017/?replicaSet=rs0", f"http://me:{SECRET}@h/", "h:27017"])
def test_what_is_no_url_of_mongodb_is_told_with_its_form(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    sentence = refused(monkeypatch, "CHATFERRY_MONGODB", url)
    assert "CHATFERRY_MONGODB" in sentence
    assert "mongodb://host:27017/?replicaSet=rs0" in sentence
    assert SECRET not in sentence


@pytest.mark.parametrize("address", ["nonsense", "localhost:4318", "http://", "ftp://h:4318"])
def test_a_collector_that_cannot_be_asked_is_told(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    sentence = refused(monkeypatch, "CHATFERRY_OTLP_ENDPOINT", address)
    assert "CHATFERRY_OTLP_ENDPOINT" in sentence
    assert "http://host:4318" in sentence
