"""Settings of the extractor."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from chatferry.common.portal.bucket import Limits
from chatferry.common.portal.webhook import Webhook, parse_webhooks
from chatferry.common.settings import ServiceSettings, secret_lines


class ExtractorSettings(ServiceSettings):
    """How the portal is reached and how gently it is read."""

    portal_webhooks: SecretStr | None = Field(
        default=None, description="Webhook URLs of one or more employees, separated by commas."
    )
    portal_webhooks_file: Path | None = Field(default=None, description="The same in a file, one URL a line.")
    portal_ca_file: Path | None = Field(default=None, description="CA of the portal's certificate, PEM.")
    portal_formerly: str = Field(
        default="", description="Host names that the portal had before it was renamed, separated by commas."
    )
    portal_bucket_capacity: int = Field(
        default=50, ge=3, description="Requests the portal's bucket holds (250: Enterprise)."
    )
    portal_bucket_per_second: float = Field(
        default=2.0, gt=0, description="Requests per second that drain (5: Enterprise)."
    )
    portal_bucket_reserve: int = Field(
        default=2, ge=0, description="Requests of the capacity that are never used; at least the concurrency less one."
    )
    portal_operating_seconds: float = Field(
        default=480.0, gt=0, description="Operating time per method in ten minutes."
    )
    portal_timeout_seconds: float = Field(
        default=70.0, gt=0, description="Longest wait for an answer to go on; three times that for the whole."
    )
    portal_concurrency: int = Field(default=3, ge=1, le=16, description="Requests under way at once.")
    batch_commands: int = Field(default=50, ge=4, le=50, description="Commands in one batch call.")
    page_size: int = Field(default=50, ge=1, le=50, description="Messages asked for in one page.")
    open_walks: int = Field(default=120, ge=1, description="Roots (chats) that are read at once.")
    publish_chunk: int = Field(default=1_000, ge=1, le=5_000, description="Records on their way to Kafka at once.")
    record_bytes_max: int = Field(
        default=900_000,
        ge=1_000,
        le=950_000,
        description="Largest canonical record the topics take; with `up` the target is told the same.",
    )
    lease_seconds: float = Field(default=15.0, ge=3, description="How long a dead extractor keeps the portal.")

    def webhooks(self) -> list[Webhook]:
        """Raises ConfigurationError without quoting a URL."""
        return parse_webhooks(secret_lines(self.portal_webhooks, self.portal_webhooks_file, "PORTAL_WEBHOOKS"))

    def former_names(self) -> list[str]:
        """Of the portal's host, as webhooks spell it."""
        return self.portal_formerly.lower().replace(",", " ").split()

    def limits(self) -> Limits:
        """The portal's plan.

        A request that is late meets a bucket which was drained for it already: one for each but one that may be under
        way is kept in reserve.
        """
        reserve = max(self.portal_bucket_reserve, self.portal_concurrency - 1)
        return Limits(
            capacity=self.portal_bucket_capacity,
            per_second=self.portal_bucket_per_second,
            reserve=min(reserve, self.portal_bucket_capacity - 1),
            operating_s=self.portal_operating_seconds,
        )
