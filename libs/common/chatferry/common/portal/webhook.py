"""Webhook URLs: `https://{portal}/rest/{user_id}/{secret}` (reference: bitrix24.md §1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from chatferry.common.errors import ConfigurationError
from chatferry.common.settings import is_http_url

# What MongoDB takes as a number; portals count to less.
_ID_DIGITS = 18
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Webhook:
    """`base` ends without a slash and holds the secret: never log it. `host` may be shown."""

    user_id: int
    host: str
    base: str = field(repr=False)


def parse_webhooks(urls: list[str]) -> list[Webhook]:
    """Raises ConfigurationError, without quoting a URL, when one is no webhook URL or they name several portals."""
    webhooks = [_parse(url, position) for position, url in enumerate(urls, 1)]
    if not webhooks:
        raise ConfigurationError(
            "no portal webhook is given: set CHATFERRY_PORTAL_WEBHOOKS or CHATFERRY_PORTAL_WEBHOOKS_FILE"
        )
    if len({webhook.host for webhook in webhooks}) > 1:
        raise ConfigurationError("the portal webhooks belong to different portals; one project migrates one portal")
    if len({webhook.user_id for webhook in webhooks}) < len(webhooks):
        raise ConfigurationError("two portal webhooks belong to one employee; give one of each")
    return webhooks


def _parse(url: str, position: int) -> Webhook:
    wrong_form = f"portal webhook {position} is not of the form https://portal/rest/USER_ID/SECRET"
    if not is_http_url(url.strip()):
        raise ConfigurationError(wrong_form)
    parts = urlsplit(url.strip())
    way = [part for part in parts.path.split("/") if part]
    if len(way) != 3 or way[0] != "rest":
        raise ConfigurationError(wrong_form)
    if not (way[1].isascii() and way[1].isdigit()):
        raise ConfigurationError(f"portal webhook {position} has no numeric user id after /rest/")
    if len(way[1]) > _ID_DIGITS:
        raise ConfigurationError(
            f"portal webhook {position} has a user id of {len(way[1])} digits; copy it again from the portal"
        )
    # The host names the portal, and with it the rate bucket: one that spells out the usual port is no other one.
    usual = parts.port in (None, _PORTS[parts.scheme])
    host = str(parts.hostname) if usual else f"{parts.hostname}:{parts.port}"
    return Webhook(int(way[1]), host, f"{parts.scheme}://{parts.netloc}/rest/{way[1]}/{way[2]}")
