"""Bodies of the events beside the records themselves: commands, runs, results (design §4)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

Phase = Literal["get", "set", "verify"]
PHASES: tuple[Phase, ...] = ("get", "set", "verify")


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class RunRequested(_Event):
    """On `commands`: wakes the extractors; the document in `runs` says what is asked."""

    run: str
    family: str
    requested_at: datetime


class RunStopped(_Event):
    """On `commands`: an operator asks for the end of the run; the document in `runs` says when it has ended."""

    run: str
    reason: str


class PhaseCompleted(_Event):
    """On `runs`, type `<entity>.<get|import|verify>.completed`. `counts`: records by what became of them."""

    run: str
    family: str
    phase: Phase
    finished_at: datetime
    counts: dict[str, dict[str, int]]
    verified: bool | None = None


class RunProgress(_Event):
    """On `runs`, type `run.progress`, at most one in five seconds of a run. `counts`: as `chatferry status` shows them.

    Per entity: listed, extracted, published, imported, verified, skipped, dead, waiting, parked; cheap ones, while
    records move. Those of a phase that is over (`<entity>.<phase>.completed`) are counted for real.
    """

    run: str
    family: str
    phase: Phase | None
    state: str
    at: datetime
    counts: dict[str, dict[str, int]]


class RecordImported(_Event):
    """On `results`: the target has this version, or a newer one (`stale`)."""

    key: str
    version: int
    entity: str
    status: Literal["created", "updated", "unchanged", "stale", "skipped"]
    target_id: str | None = None


class CountChanged(_Event):
    """On `participants`: what is known of a chat's participants, compacted by chat. `chat_id` below 0: MAX's own.

    `state`: `confirmed` (MAX said so, at `updated_at`), `provisional` (events moved it since), `frozen`, `denied` (the
    last one known: the bot is out; MAX does not let us read it) or `static` (the portal's members).
    """

    chat_id: int
    count: int = Field(ge=0)
    state: Literal["confirmed", "provisional", "frozen", "denied", "static"]
    updated_at: datetime | None


class CountEnded(RootModel[None]):
    """On `participants`, without a body: the chat has no count under this id any more, and leaves the topic."""


class MaxUpdate(BaseModel):
    """On `max.updates`: one Update of MAX, as it came. Its type decides what other fields it has (dev.max.ru)."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, extra="allow")

    update_type: str
    timestamp: int


class RecordFailed(_Event):
    """On `results`: the record is a dead letter now. `code` is ours; the target's text is never passed on."""

    key: str
    version: int
    entity: str
    error_class: str
    code: str
    attempts: int = Field(ge=0)
