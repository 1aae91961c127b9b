"""The participants service's settings. Those that the requirement names bear its names, without a prefix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, field_validator, model_validator

from chatferry.common.errors import ConfigurationError
from chatferry.common.settings import ServiceSettings, is_http_url, secret_lines
from chatferry.participants.domain.plan import PlanRules

_KIB = 1024
_SECRET = re.compile(r"[a-zA-Z0-9_-]{5,256}")
Events = Literal["webhook", "polling", "off"]


class ParticipantsSettings(ServiceSettings):
    """What the participants service is told."""

    cache_ttl_s: int = Field(
        default=3_600, ge=10, le=7 * 86_400, alias="PARTICIPANTS_CACHE_TTL", description="Seconds a count is fresh."
    )
    update_interval_s: int = Field(
        default=900,
        ge=1,
        le=86_400,
        alias="PARTICIPANTS_UPDATE_INTERVAL",
        description="Seconds from one pass over the most active chats to the next.",
    )
    full_update_hour: int = Field(
        default=3, ge=0, le=23, alias="PARTICIPANTS_FULL_UPDATE_HOUR", description="Hour at which all chats are read."
    )
    timezone: str = Field(
        default="UTC", alias="PARTICIPANTS_TIMEZONE", description="IANA name of that hour's time zone."
    )
    batch_size: int = Field(
        default=50, ge=1, le=1_000, alias="PARTICIPANTS_BATCH_SIZE", description="Reads at a time, of one replica."
    )
    top_n: int = Field(
        default=25, ge=0, le=100_000, alias="PARTICIPANTS_TOP_N", description="How many chats are the most active ones."
    )
    safety_interval_s: int = Field(
        default=86_400,
        ge=10,
        le=7 * 86_400,
        alias="PARTICIPANTS_SAFETY_INTERVAL",
        description="Seconds within which every chat is read, whatever its events say.",
    )
    untrusted_interval_s: int = Field(
        default=300,
        ge=1,
        le=86_400,
        alias="PARTICIPANTS_UNTRUSTED_INTERVAL",
        description="The same for chats whose events do not come, or cannot be trusted.",
    )
    calls_per_second: int = Field(
        default=27,
        ge=1,
        le=30,
        alias="PARTICIPANTS_CALLS_PER_SECOND",
        description="Most calls to MAX in any second, by all replicas; MAX allows 30.",
    )
    calls_per_hour: int = Field(
        default=97_200,
        ge=60,
        le=108_000,
        alias="PARTICIPANTS_CALLS_PER_HOUR",
        description="Most calls to MAX in any hour, by all replicas.",
    )
    replicas_max: int = Field(
        default=3,
        ge=1,
        le=27,
        alias="PARTICIPANTS_REPLICAS_MAX",
        description="Replicas among which the calls are shared evenly while Redis is away.",
    )
    max_url: str = Field(default="https://platform-api2.max.ru", description="Base URL of the MAX Bot API.")
    max_ca_file: Path | None = Field(
        default=None, description="Certificates (PEM) that MAX's must lead to: its root is not in usual trust stores."
    )
    max_token: SecretStr | None = Field(default=None, description="The MAX bot's token.")
    max_token_file: Path | None = Field(default=None, description="File that holds it.")
    # A read ends within the lease of its slot, which is renewed every two of its ten seconds.
    max_answer_seconds: float = Field(default=3.0, gt=0, le=7, description="Longest wait for an answer of MAX.")
    max_events: Events = Field(
        default="webhook", description="How MAX's events come: webhook, polling (for development) or off."
    )
    max_webhook_url: str | None = Field(
        default=None, description="Where MAX reaches /max/updates of this service: https, port 443."
    )
    max_webhook_secret: SecretStr | None = Field(
        default=None, description="What MAX has to send in X-Max-Bot-Api-Secret: 5 to 256 letters, digits, - and _."
    )
    max_webhook_secret_file: Path | None = Field(default=None, description="File that holds it.")
    max_webhook_bytes_max: int = Field(
        default=256 * _KIB, ge=_KIB, le=768 * _KIB, description="Largest body of an event."
    )
    max_links_file: Path | None = Field(
        default=None,
        description="Which MAX chat a portal's chat is: a line chat_id,max_chat_id for each, or a max_chat_id alone.",
    )
    redis_prefix: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9:._-]{0,64}$",
        description="What stands before chat_participants:{chat_id} in Redis, for projects that share one.",
    )
    api_keys: SecretStr | None = Field(default=None, description="Keys of /chats/…, by commas.")
    api_keys_file: Path | None = Field(default=None, description="File with the same, one a line.")
    api_rate_per_second: int = Field(
        default=1_000, ge=1, description="Most requests of one key in a second, at each replica."
    )
    api_page_max: int = Field(default=200, ge=1, le=1_000, description="Most chats on a page.")
    fresh_wait_seconds: float = Field(
        default=1.8, gt=0, le=30, description="Within which a reader is answered who asks for fresh counts."
    )

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (OSError, ValueError, ZoneInfoNotFoundError):
            raise ValueError("is no IANA time zone, as in Europe/Moscow") from None
        return name

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.update_interval_s > self.safety_interval_s:
            raise ValueError("PARTICIPANTS_UPDATE_INTERVAL must not be longer than PARTICIPANTS_SAFETY_INTERVAL")
        if self.max_events == "webhook" and self.max_webhook_url is None:
            raise ValueError(
                "CHATFERRY_MAX_WEBHOOK_URL is not set: give it, or set CHATFERRY_MAX_EVENTS to polling or off"
            )
        for name, url in (("MAX_URL", self.max_url), ("MAX_WEBHOOK_URL", self.max_webhook_url)):
            if url is not None and not is_http_url(url):
                raise ValueError(f"CHATFERRY_{name} is not of the form http(s)://host")
        return self

    @property
    def catalogue(self) -> str:
        """The service's own database: nothing of the migration's is in it."""
        return f"chatferry_participants_{self.project.replace('-', '_')}"

    @property
    def wishes_per_second(self) -> float:
        """Of each replica: two thirds of the calls for all of them, so that what events tell of has its share too."""
        return min(self.calls_per_second, self.calls_per_hour / 3_600) * 2 / (3 * self.replicas_max)

    @property
    def plan(self) -> PlanRules:
        """When chats are read."""
        return PlanRules(
            self.update_interval_s,
            self.safety_interval_s,
            self.untrusted_interval_s,
            self.cache_ttl_s,
            self.full_update_hour,
            ZoneInfo(self.timezone),
        )

    def token(self) -> str:
        """The bot's token. Raises ConfigurationError."""
        return self._one(self.max_token, self.max_token_file, "MAX_TOKEN")

    def webhook_secret(self) -> str:
        """What MAX's events have to carry. Raises ConfigurationError."""
        secret = self._one(self.max_webhook_secret, self.max_webhook_secret_file, "MAX_WEBHOOK_SECRET")
        if _SECRET.fullmatch(secret) is None:
            raise ConfigurationError("CHATFERRY_MAX_WEBHOOK_SECRET: MAX takes 5 to 256 Latin letters, digits, - and _")
        return secret

    def keys(self) -> list[str]:
        """Who may read. Raises ConfigurationError."""
        return secret_lines(self.api_keys, self.api_keys_file, "API_KEYS")

    def _one(self, value: SecretStr | None, file: Path | None, name: str) -> str:
        lines = secret_lines(value, file, name)
        if not lines:
            raise ConfigurationError(f"CHATFERRY_{name} is empty")
        return lines[0]
