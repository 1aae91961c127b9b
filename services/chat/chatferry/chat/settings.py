"""The target's settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from chatferry.common.settings import BaseServiceSettings, secret_lines

_SECRET = re.compile(r"[A-Za-z0-9._~-]{8,128}")
_MIB = 1024 * 1024


class ChatSettings(BaseServiceSettings):
    """What the target takes, and from whom."""

    chat_webhook_user: str = Field(
        default="1", pattern=r"^[A-Za-z0-9._~-]{1,64}$", description="The user in /rest/{user}/{secret}/."
    )
    chat_webhook_secret: SecretStr | None = Field(
        default=None,
        description="The secret in /rest/{user}/{secret}/; several, by commas, while one replaces another.",
    )
    chat_webhook_secret_file: Path | None = Field(default=None, description="File with the same, one a line.")
    body_bytes_max: int = Field(default=16 * _MIB, ge=1024, le=64 * _MIB, description="Largest body of a request.")
    bodies_bytes_max: int = Field(
        default=48 * _MIB, ge=1024, le=1024 * _MIB, description="Bodies held at once; further requests wait their turn."
    )
    batch_items_max: int = Field(default=500, ge=1, le=10_000, description="Most items in a batch.")
    record_bytes_max: int = Field(
        default=2 * _MIB, ge=1024, le=2 * _MIB, description="Largest record, in canonical JSON."
    )
    known_parents_max: int = Field(
        default=10_000, ge=1, le=1_000_000, description="How many chats' target ids are remembered."
    )
    id_block: int = Field(default=2_000, ge=1, le=1_000_000, description="Target ids taken at a time.")
    mongodb_timeout_ms: int = Field(default=3_000, ge=100, le=60_000, description="How long MongoDB is looked for.")

    @property
    def database(self) -> str:
        """The target's own database: nothing of the migration's is in it."""
        return f"chatferry_chat_{self.project.replace('-', '_')}"

    @property
    def webhook_secrets(self) -> list[str]:
        """Every secret that opens the target. Raises ConfigurationError when the file cannot be read."""
        return secret_lines(self.chat_webhook_secret, self.chat_webhook_secret_file, "CHAT_WEBHOOK_SECRET")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        secrets = self.webhook_secrets
        if not secrets or not all(_SECRET.fullmatch(secret) for secret in secrets):
            raise ValueError(
                "CHATFERRY_CHAT_WEBHOOK_SECRET (or its file) must hold 8 to 128 letters, digits, dots, dashes,"
                " underscores or tildes"
            )
        if self.bodies_bytes_max < self.body_bytes_max:
            raise ValueError("CHATFERRY_BODIES_BYTES_MAX must not be less than CHATFERRY_BODY_BYTES_MAX")
        return self
