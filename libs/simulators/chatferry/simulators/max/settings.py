"""How the simulated platform behaves, in sections that may be changed while it runs, and where it listens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Nothing = Literal["mixed", "null", "absent"]
"""How an optional field without a value is spelled; mixed: each chat in its own way."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Api(_Section):
    """Rules of the REST side. Both rates and the delays are in real seconds, whatever the clock's speed."""

    rate_per_s: Annotated[int, Field(ge=0)] = 30
    """Calls admitted in any second; 0: no limit."""
    updates_per_s: Annotated[int, Field(ge=0)] = 2
    retry_after: Literal["sometimes", "always", "never"] = "sometimes"
    """Whether a 429 says when to come again."""
    auth_status: Literal[401, 403] = 401
    query_token: bool = False
    """The old `access_token` in the query is taken too."""
    list_chats: bool = False
    """GET /chats exists."""
    no_marker: Literal["since_commit", "latest"] = "since_commit"
    """What GET /updates without a marker gives: all since the last commit, or the latest update alone."""
    permissions_by_polling: bool = False
    """GET /updates gives bot_admin_permissions_changed too."""
    nothing: Nothing = "mixed"
    removed_reads: Literal["status", "denied", "not_found"] = "status"
    """What a read of a chat without the bot gives: 200 with that status, 403, 404."""
    latency_s: Seconds = 0.0
    jitter_s: Seconds = 0.0
    """An answer takes latency_s and up to jitter_s more; what it says is as of the request."""


class Delivery(_Section):
    """Rules and disturbances of events. Times are the clock's, but the deadline and the outflow are real."""

    https_only: bool = True
    """Webhooks are https on port 443; otherwise any http or https URL is taken."""
    deadline_s: Annotated[float, Field(gt=0)] = 30.0
    retries: Annotated[int, Field(ge=0)] = 10
    retry_first_s: Seconds = 60.0
    retry_factor: Annotated[float, Field(ge=1)] = 2.5
    unsubscribe_after_s: Seconds = 8 * 3600.0
    outflow_per_s: Annotated[float, Field(gt=0)] = 100.0
    retention_s: Seconds = 24 * 3600.0
    """How long GET /updates can still give an event."""
    drop: Share = 0.0
    duplicate: Share = 0.0
    reorder: Share = 0.0
    """Held back until a later event went out, for hold_max_s at most."""
    hold_max_s: Seconds = 5.0
    delay: Share = 0.0
    """Sent late, by delay_max_s at most."""
    delay_max_s: Seconds = 10.0
    extra_user_id: Share = 0.1
    """user_added and user_removed with a top-level user_id that is somebody else's."""
    unknown_fields: Share = 0.0
    unknown_types: Share = 0.0
    """An event of a type that nobody knows goes before the real one."""


class Script(_Section):
    """What goes on by itself, on the clock, drawn from the seed."""

    changes_per_minute: Annotated[float, Field(ge=0)] = 0.01
    """Share of the chats that change each minute."""
    messages_per_minute: Annotated[float, Field(ge=0)] = 0.0
    """Share of the chats where somebody writes each minute."""
    silent: Share = 0.0
    """Changes of a count that no event tells."""
    rename: Share = 0.02
    """Changes that are a new title instead."""
    admin: Share = 0.0
    """Changes that are the bot's admin right taken or given back instead."""
    bot: Share = 0.0
    """Changes that are the bot removed or added again instead."""


class Settings(_Section):
    speed: Annotated[float, Field(gt=0)] = 1.0
    """Seconds of the clock per real second."""
    api: Api = Api()
    delivery: Delivery = Delivery()
    script: Script = Script()


@dataclass(slots=True)
class Live:
    """The settings in force."""

    now: Settings


def changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """With some values of some sections replaced; raises ValueError, with a sentence, for what cannot be."""
    merged = settings.model_dump()
    for name, value in changes.items():
        inside = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merged[name] | value if inside else value
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}; see {names()}") from None


def from_options(items: list[str]) -> dict[str, Any]:
    """`delivery.drop=0.1` as nested values; raises ValueError for another form."""
    result: dict[str, Any] = {}
    for item in items:
        path, equals, value = item.partition("=")
        section, dot, name = path.partition(".")
        if not equals:
            raise ValueError(f"--set: {item!r} is not SETTING=VALUE; settings: {names()}")
        if dot:
            result.setdefault(section, {})[name] = _value(value)
        else:
            result[section] = _value(value)
    return result


def _value(text: str) -> Any:
    """Numbers and truth values as such: some settings are one of several, which a text never is."""
    try:
        value = orjson.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text


def names() -> str:
    sections = (("api", Api), ("delivery", Delivery), ("script", Script))
    return ", ".join(["speed"] + [f"{section}.{name}" for section, model in sections for name in model.model_fields])


@dataclass(frozen=True, slots=True)
class Serve:
    """Where to listen; port 0 is a free one."""

    host: str = "127.0.0.1"
    http_port: int = 0
    control_port: int = 0
    token: str | None = None
    """None: drawn."""
    token_file: Path | None = None
    """Where the token is to stand, mode 600; None: in a temporary folder that goes away at the end."""
    webhook_ca_file: Path | None = None
    """Whom the webhook sender trusts; None: the usual authorities."""
    fault_seed: int = 1
