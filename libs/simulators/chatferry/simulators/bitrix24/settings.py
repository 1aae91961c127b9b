"""How a simulated portal behaves and where it listens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RateBucket:
    """`capacity` requests at once, `drain_per_s` forgotten per simulated second."""

    capacity: float = 50
    drain_per_s: float = 2


@dataclass(frozen=True, slots=True)
class Quirks:
    """What real portals do and documents do not say."""

    recent_repeats: int = 10
    """Every n-th row of im.recent.list comes a second time further down; 0: never."""
    channels_on_request_only: bool = False
    """Channels appear in im.recent.list with ONLY_CHANNEL alone."""
    planning_message_list: bool = False
    """The method im.chat.message.list exists."""
    unordered_first_id: bool = True
    """Pages asked for with FIRST_ID come in no order."""
    unknown_cursor_is_empty: bool = False
    """A LAST_ID or FIRST_ID that no message of the dialog has gives an empty page."""


@dataclass(frozen=True, slots=True)
class PortalSettings:
    """Rules of one portal; the defaults are those of a cloud portal on a cheap plan, with the rate limit off."""

    bucket: RateBucket | None = None
    operating_limit_s: float | None = None
    operating_cost_s: Mapping[str, float] = field(default_factory=dict)
    """Simulated seconds a call costs, by method pattern (`im.*`), first match; none: the time it really took."""
    clock_speed: float = 1.0
    auth_status: int = 401
    https_required: bool = False
    utc_offset_minutes: int = 180
    quirks: Quirks = field(default_factory=Quirks)


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Where to listen: port 0 is a free one, a port of None means that this side is not served."""

    host: str = "127.0.0.1"
    http_port: int | None = 0
    https_port: int | None = 0
    control_port: int | None = 0
    state_dir: Path | None = None
    """Folder for the CA file and the webhook URL files; None: a temporary one that goes away at the end."""
    fault_seed: int = 1
    public_host: str | None = None
    """The name in URLs and in the certificate, where it is not the address to listen on."""

    @property
    def name(self) -> str:
        return self.public_host or self.host
