"""Settings of the verifier."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from chatferry.common.contracts.target import LIST_LIMIT
from chatferry.common.errors import ConfigurationError
from chatferry.common.settings import ENV_PREFIX, ServiceSettings, is_http_url, secret_lines


class VerifierSettings(ServiceSettings):
    """What the verifier needs beside what every service needs."""

    target_url: SecretStr | None = Field(
        default=None, description="The target's …/rest/{user}/{secret} URL; or give the file that holds it."
    )
    target_url_file: Path | None = Field(default=None, description="File with the target's URL.")
    target_ca_file: Path | None = Field(
        default=None, description="PEM certificates that the target's certificate is checked against."
    )
    target_timeout_seconds: float = Field(default=30, gt=0, le=600, description="Longest wait for one whole answer.")
    verify_sample: int = Field(
        default=200,
        ge=0,
        le=100_000,
        description="Records fetched once more by key and compared, beside the full comparison.",
    )
    verify_seed: int = Field(default=1, ge=0, description="Which records the sample takes.")
    verify_parallel: int = Field(default=4, ge=1, le=64, description="Chats compared at the same time.")
    verify_page: int = Field(default=LIST_LIMIT, ge=1, le=LIST_LIMIT, description="Records per page read back.")
    verify_poll_seconds: float = Field(default=0.5, gt=0, le=60, description="Pause between looks for work.")
    verify_lease_seconds: float = Field(
        default=15, ge=1, le=600, description="After this time without a sign of life another process takes over."
    )

    def target(self) -> str:
        """The target's URL, secret included. Raises ConfigurationError."""
        lines = secret_lines(self.target_url, self.target_url_file, "TARGET_URL")
        if len(lines) != 1 or not is_http_url(lines[0]):
            raise ConfigurationError(
                f"{ENV_PREFIX}TARGET_URL must be one URL like https://host/rest/{{user}}/{{secret}}"
            )
        return lines[0].rstrip("/")
