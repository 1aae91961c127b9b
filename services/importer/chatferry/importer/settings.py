"""The importer's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from chatferry.common.entities import ENTITIES
from chatferry.common.errors import ConfigurationError
from chatferry.common.settings import ServiceSettings, is_http_url, secret_lines


class ImporterSettings(ServiceSettings):
    """What the importer is told."""

    target_url: SecretStr | None = Field(default=None, description="The target, http(s)://host/rest/{user}/{secret}.")
    target_url_file: Path | None = Field(default=None, description="File that holds the target's URL.")
    target_ca_file: Path | None = Field(default=None, description="Certificates (PEM) that the target's must lead to.")
    target_connect_seconds: float = Field(default=5.0, gt=0, description="Longest wait for a connection.")
    target_answer_seconds: float = Field(default=30.0, gt=0, le=120, description="Longest wait for a whole answer.")
    lanes: int = Field(default=4, ge=1, le=32, description="Calls to the target at a time.")
    batch_items: dict[str, int] = Field(
        default_factory=dict, description='Records per call by entity, as JSON: {"chats": 20, "chat_messages": 100}.'
    )
    batch_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, description="Most bytes of records in one call.")
    retry_delays_seconds: tuple[Annotated[float, Field(ge=0, le=86_400)], ...] = Field(
        default=(2.0, 6.0),
        description="Waits before attempt 2, 3, …, as a JSON list: [2, 6]; one more attempt than waits.",
    )
    may_pass_dead: bool = Field(
        default=True,
        description="Whether a record may be imported after one of its chat that the target refused for good.",
    )
    dead_share_max: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Largest share of dead letters among the last 200 records; beyond it, delivery stops.",
    )
    dead_consecutive_max: int = Field(
        default=100, ge=1, description="Most dead letters one after another; beyond it, delivery stops."
    )
    max_records: int = Field(default=3_000, ge=1, le=20_000, description="Most records taken from Kafka at once.")

    def target(self) -> str:
        """The target's URL. Raises ConfigurationError, which never repeats it."""
        lines = secret_lines(self.target_url, self.target_url_file, "TARGET_URL")
        if not lines or not is_http_url(lines[0]) or "/rest/" not in urlsplit(lines[0]).path:
            raise ConfigurationError("CHATFERRY_TARGET_URL is not of the form http(s)://host/rest/{user}/{secret}")
        return lines[0]

    def items(self) -> dict[str, int]:
        """Batch sizes that override the entities' own. Raises ConfigurationError."""
        for name, size in self.batch_items.items():
            if name not in ENTITIES or not 1 <= size <= 500:
                raise ConfigurationError(
                    f"CHATFERRY_BATCH_ITEMS: {name} must be one of {', '.join(ENTITIES)}, with 1 to 500 records"
                )
        return dict(self.batch_items)
