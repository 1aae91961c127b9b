"""Settings: one frozen object per service, from the environment (`CHATFERRY_…`), cross-checked at start."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from chatferry.common.errors import ConfigurationError

ENV_PREFIX = "CHATFERRY_"
_SET_IT = "Set it in the environment and start again."
_PROJECT = re.compile(r"[a-z][a-z0-9-]{0,31}")
_REDIS = ("redis", "rediss", "unix")
_DATABASE = re.compile(r"/?|/\d{1,5}")
_MONGODB = ("mongodb://", "mongodb+srv://")
_BROKER = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+):(\d{1,5})")
S = TypeVar("S", bound="BaseServiceSettings")


def checked_project(name: str) -> str:
    """The name. Raises ValueError with what it must be."""
    if not _PROJECT.fullmatch(name):
        raise ValueError("must be 1 to 32 small letters, digits and dashes, beginning with a letter")
    return name


def is_http_url(text: str) -> bool:
    """Whether it can be asked: http or https, a host, a port that is one. What cannot would raise at the first call."""
    try:
        parts = urlsplit(text)
        httpx.URL(text)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False
    return named and re.search(r"\s", text) is None


def _redis_url(url: SecretStr) -> SecretStr:
    with suppress(ValueError):
        parts = urlsplit(url.get_secret_value())
        if parts.scheme in _REDIS and parts.port != 0 and (parts.scheme == "unix" or _DATABASE.fullmatch(parts.path)):
            return url
    raise ValueError("must be a URL of Redis, redis://host:6379/0")


def _mongodb_url(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(_MONGODB):
        raise ValueError("must be a URL of MongoDB, mongodb://host:27017/?replicaSet=rs0")
    return url


def _collector(url: str | None) -> str | None:
    if url and not is_http_url(url):
        raise ValueError("must be an address of a collector, http://host:4318")
    return url


def kafka_address(address: str) -> str:
    """As it is. Raises ValueError when Kafka's clients would stumble over it or ask nobody."""
    brokers = [_BROKER.fullmatch(broker.strip()) for broker in address.split(",")]
    if not all(broker and 1 <= int(broker[1]) <= 65535 for broker in brokers):
        raise ValueError("must be host:port of a broker, or of several with commas: kafka:9092,[::1]:9093")
    return address


class BaseServiceSettings(BaseSettings):
    """What every service needs, whether or not it talks to Kafka. Times carry their unit in the name."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )

    project: Annotated[str, AfterValidator(checked_project)] = Field(
        default="demo", description="Prefix of topics, groups and Redis keys, and part of the database's name."
    )
    mongodb: Annotated[SecretStr, AfterValidator(_mongodb_url)] = Field(
        description="URL of a replica set, mongodb://…."
    )
    http_host: str = Field(default="127.0.0.1", description="Where /metrics, /healthz and /readyz listen.")
    http_port: int = Field(default=0, ge=0, le=65535, description="Port of the same; 0 takes a free one.")
    http_cert_file: Path | None = Field(default=None, description="Certificate (PEM): what listens speaks HTTPS.")
    http_key_file: Path | None = Field(default=None, description="Key of that certificate (PEM).")
    address_file: Path | None = Field(
        default=None, description="File that gets the service's base URL once it listens."
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least severe level.")
    otlp_endpoint: Annotated[str | None, AfterValidator(_collector)] = Field(
        default=None, description="OTLP/HTTP collector, http://host:4318; none: no traces."
    )
    drain_seconds: float = Field(default=10.0, gt=0, le=300, description="How long a stop may take to finish its work.")

    @property
    def database(self) -> str:
        """The project's database."""
        return f"chatferry_{self.project.replace('-', '_')}"


class ServiceSettings(BaseServiceSettings):
    """A service that takes part in migrations: Kafka and Redis too."""

    kafka: Annotated[str, AfterValidator(kafka_address)] = Field(description="Bootstrap address, host:port.")
    redis: Annotated[SecretStr, AfterValidator(_redis_url)] = Field(description="URL, redis://….")

    def topic(self, name: str) -> str:
        """The project's topic of that name."""
        return f"{self.project}.{name}"

    def group(self, service: str) -> str:
        """The project's consumer group of a service."""
        return f"{self.project}.{service}"


def load_settings(kind: type[S]) -> S:
    """Read the environment. Raises ConfigurationError with one line naming every wrong variable and why."""
    try:
        return kind()
    except ValidationError as wrong:
        raise ConfigurationError(f"{_sentence(wrong)}. {_SET_IT}") from None
    except SettingsError as unreadable:
        raise ConfigurationError(f"{_no_json(kind, str(unreadable))} {_SET_IT}") from None


def _sentence(wrong: ValidationError) -> str:
    parts = []
    for error in wrong.errors(include_input=False, include_url=False, include_context=False):
        name = _variable(str(error["loc"][0])) if error["loc"] else "the settings"
        parts.append(f"{name} is not set" if error["type"] == "missing" else f"{name}: {error['msg']}")
    return "; ".join(parts)


def _no_json(kind: type[BaseServiceSettings], words: str) -> str:
    """A value that is read as JSON and is none ends the reading; only the words of the error name the field."""
    for name, field in kind.model_fields.items():
        if f'"{name}"' in words:
            return f"{_variable(field.alias or name)} is not JSON. Its form: {field.description}"
    return "a setting is not JSON."


def _variable(place: str) -> str:
    """A field has its name behind the prefix, or an alias that is the whole variable, in capitals."""
    return place if place.isupper() else ENV_PREFIX + place.upper()


def secret_lines(value: SecretStr | None, file: Path | None, name: str) -> list[str]:
    """A list of secrets from a variable (comma-separated) or a file (one a line). Raises ConfigurationError."""
    if value is not None:
        lines = value.get_secret_value().split(",")
    elif file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except OSError as unreadable:
            raise ConfigurationError(
                f"{ENV_PREFIX}{name}_FILE: {file} cannot be read ({unreadable.strerror})"
            ) from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{ENV_PREFIX}{name}_FILE: {file} is no text in UTF-8") from None
    else:
        raise ConfigurationError(f"{ENV_PREFIX}{name} is not set, and neither is {ENV_PREFIX}{name}_FILE")
    return [line.strip() for line in lines if line.strip()]


def host_of(url: str) -> str:
    """`host:port` of a URL, small letters, without credentials."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
