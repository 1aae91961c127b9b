"""The target's protocol (design §5): batches in, one answer per item out, and everything read back."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

ItemStatus = Literal["created", "updated", "unchanged", "stale", "error"]
LIST_LIMIT = 500
# Nobody reads more of an answer to a batch or a count: 500 results have 8 KiB each.
ANSWER_BYTES = 4 * 1024 * 1024
# An item that was not tried: an earlier one of its parent in the same batch is to be sent again first.
BEHIND = "BEHIND"
PARENT_MISSING = "PARENT_MISSING"
NO_TARGET = (
    "what answers at the target's URL does not answer as a target does: it is a page of maintenance, or another "
    "server; wait until the target is back, or correct its URL"
)


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class ImportItem(_Wire):
    """`data` is a canonical record of the batch's entity; `version` orders its contents; `hash` is its payload hash."""

    key: str = Field(min_length=1, max_length=256)
    version: int = Field(ge=1, le=2**53)
    hash: str = Field(pattern="^[0-9a-f]{64}$")
    data: dict[str, Any]


class ImportBatch(_Wire):
    """Body of `import.<family>.batch`."""

    entity: str
    items: list[ImportItem]


class ItemResult(_Wire):
    """What became of one item. `unchanged`: this version is there; `stale`: a newer one is; both are done."""

    key: str
    status: ItemStatus
    id: str | None = Field(default=None, max_length=256)
    code: str | None = None
    message: str | None = None
    retryable: bool | None = None


class ImportAnswer(_Wire):
    """Answer to a batch: one entry per item, in the order of the items."""

    results: list[ItemResult]


class StoredItem(_Wire):
    """A record as the target rebuilds it from its own model."""

    key: str
    id: str
    version: int
    hash: str
    data: dict[str, Any]


class CountRequest(_Wire):
    """Body of `import.<family>.count`. `parent` is a chat's or group's key."""

    entity: str
    parent: str | None = None


class CountAnswer(_Wire):
    """How many records of the entity the target holds."""

    count: int


def is_count(content: bytes) -> bool:
    """Whether these bytes are the answer of a target: of a page with status 200 they are not."""
    try:
        return CountAnswer.model_validate_json(content).count >= 0
    except ValidationError:
        return False


class GetRequest(_Wire):
    """Body of `import.<family>.get`."""

    entity: str
    keys: list[str] = Field(max_length=LIST_LIMIT)


class GetAnswer(_Wire):
    """The records found, and the keys that the target does not have."""

    items: list[StoredItem]
    missing: list[str]


class ListRequest(_Wire):
    """Body of `import.<family>.list`. `after` is the `next` of the page before."""

    entity: str
    parent: str | None = None
    after: str | None = None
    limit: int = Field(default=LIST_LIMIT, ge=1, le=LIST_LIMIT)


class ListAnswer(_Wire):
    """A page, every record once, in a fixed order; `next` is opaque, null at the end."""

    items: list[StoredItem]
    next: str | None


class TargetError(_Wire):
    """Body of every answer that is not 200."""

    error: str
    error_description: str
