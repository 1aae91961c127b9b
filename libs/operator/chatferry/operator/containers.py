"""What containers need and no image brings: secrets in a volume of their own, and patience with parts that start."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from chatferry.common.clock import Clock
from chatferry.common.errors import ConfigurationError, OutageError
from chatferry.common.portal.webhook import parse_webhooks
from chatferry.common.settings import is_http_url
from chatferry.operator.folder import write_secret

TARGET_SECRET, TARGET_URL, WEBHOOKS = "target.secret", "target.url", "webhooks"
MAX_SECRET, READERS_KEYS = "max.secret", "participants.keys"
_LOOK_S = 0.5


async def patiently(work: Callable[[], Awaitable[None]], wait_s: float, clock: Clock) -> None:
    """Run `work`, again while it raises OutageError, for `wait_s` at most; then the last OutageError stands."""
    deadline = clock.monotonic() + wait_s
    while True:
        try:
            await work()
        except OutageError:
            if clock.monotonic() >= deadline:
                raise
        else:
            return
        await clock.sleep(_LOOK_S)


def prepare_secrets(folder: Path, target: str) -> None:
    """The files that services read, mode 600: the target's secret and URL, what MAX's events carry, a reader's key;
    secrets are kept when they are there.

    `target`: base URL. A simulated portal's webhooks (`portal/webhook-*.url`) become the project's; without one they
    must have been put in. Raises ConfigurationError.
    """
    if not is_http_url(target):
        raise ConfigurationError("--target must be a base URL, http(s)://host:port")
    for name in (TARGET_SECRET, MAX_SECRET, READERS_KEYS):
        if not _kept(folder / name):
            write_secret(folder / name, secrets.token_urlsafe(24))
    secret = (folder / TARGET_SECRET).read_text(encoding="utf-8").strip()
    write_secret(folder / TARGET_URL, f"{target.rstrip('/')}/rest/1/{secret}")
    simulated = sorted((folder / "portal").glob("webhook-*.url"))
    if simulated:
        keep_webhooks(folder, "\n".join(file.read_text(encoding="utf-8").strip() for file in simulated))
    elif not (folder / WEBHOOKS).exists():
        raise ConfigurationError(
            "no portal is given; put its webhook URLs in with"
            " `docker compose run --rm --no-deps -T bootstrap webhooks /run/chatferry < FILE`,"
            " or take the simulated one with `docker compose --profile demo up`"
        )


def _kept(file: Path) -> bool:
    """A process that was killed while it wrote has left an empty one."""
    return file.exists() and file.read_text(encoding="utf-8").strip() != ""


def keep_webhooks(folder: Path, text: str) -> None:
    """Webhook URLs, one a line. Raises ConfigurationError, and keeps what was there, when one is no webhook URL."""
    urls = [line.strip() for line in text.splitlines() if line.strip()]
    parse_webhooks(urls)
    write_secret(folder / WEBHOOKS, "\n".join(urls))
