"""Reads batches: bytes in, validated items out, in one pass.

The contract's models (`contracts.target`, `contracts.records`) are read as typed dicts: pydantic checks the same, but
`data` stays what it is hashed and kept as, and no object is made for each message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from types import GenericAlias, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Discriminator, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from chatferry.chat.domain.items import Item, Kind, Outcome, RefusedItemError, kinds_of, refused
from chatferry.chat.refusals import bad_request, faults, invalid
from chatferry.common.contracts.target import ImportItem

_MOST_KEY = 256


class _LooseBatch(BaseModel):
    """A batch of which only the items' keys must be right: read when the strict one fails, to name the wrong items."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    entity: str
    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it was read: sound items in their order, and by position what is to be said of the others."""

    entity: str
    items: list[Item]
    wrong: list[tuple[int, Outcome]]

    @property
    def size(self) -> int:
        """How many items were sent."""
        return len(self.items) + len(self.wrong)


@dataclass(frozen=True, slots=True)
class Served:
    """One family as it is served: its entities by name, and how its batches are read."""

    kinds: Mapping[str, Kind]
    _whole: TypeAdapter[Any]
    _item: Mapping[str, TypeAdapter[Any]]

    def read(self, body: bytes) -> Batch:
        """Read a batch. Raises RefusedCallError for a body that is no batch at all, or has an item without a key."""
        try:
            batch = self._whole.validate_json(body)
        except ValidationError:
            return self._item_by_item(body)
        return Batch(batch["entity"], batch["items"], [])

    def _item_by_item(self, body: bytes) -> Batch:
        try:
            loose = _LooseBatch.model_validate_json(body)
        except ValidationError as wrong:
            raise invalid(wrong, _LooseBatch) from None
        batch = Batch(loose.entity, [], [])
        if loose.entity in self._item:
            for position, item in enumerate(loose.items):
                self._sort_in(batch, position, item)
        return batch

    def _sort_in(self, batch: Batch, position: int, item: dict[str, Any]) -> None:
        key = item.get("key")
        if not isinstance(key, str) or not 0 < len(key) <= _MOST_KEY:
            raise bad_request(
                "INVALID_REQUEST", f"items.{position}.key: must be a text of 1 to {_MOST_KEY} characters."
            )
        try:
            batch.items.append(self._item[batch.entity].validate_python(item))
        except ValidationError as wrong:
            in_data = all(error["loc"][:1] == ("data",) and len(error["loc"]) > 1 for error in _errors(wrong))
            sentence = faults(wrong, ImportItem, self.kinds[batch.entity].entity.model)
            refusal = RefusedItemError("INVALID_DATA" if in_data else "INVALID_ITEM", sentence)
            batch.wrong.append((position, refused(key, refusal)))


def serve(family: str) -> Served:
    """The family with its validators, which take a moment to build: once, at start."""
    kinds = kinds_of(family)
    items = {name: _item_type(kind) for name, kind in kinds.items()}
    batches = [
        _typed_dict("Batch", {"entity": Literal[name], "items": GenericAlias(list, item)})
        for name, item in items.items()
    ]
    whole: Any = Annotated[reduce(or_, batches), Discriminator("entity")] if len(batches) > 1 else batches[0]
    return Served(kinds, TypeAdapter(whole), {name: TypeAdapter(item) for name, item in items.items()})


def _item_type(kind: Kind) -> Any:
    fields = {name: Annotated[field.annotation, field] for name, field in ImportItem.model_fields.items()}
    return _typed_dict("Item", {**fields, "data": _as_dict(kind.entity.model)})


def _as_dict(annotation: Any) -> Any:
    """The annotation with every model in it as a typed dict of the same fields, strict and closed as the model is."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        typed = _typed_dict(
            annotation.__name__, {name: _as_dict(field.annotation) for name, field in annotation.model_fields.items()}
        )
        typed.__pydantic_config__ = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)
        return typed
    if get_origin(annotation) in (Union, UnionType):
        return reduce(or_, map(_as_dict, get_args(annotation)))
    if get_origin(annotation) is list:
        return GenericAlias(list, _as_dict(get_args(annotation)[0]))
    return annotation


def _typed_dict(name: str, fields: dict[str, Any]) -> Any:
    # Through a variable: mypy knows typed dicts only where their fields are written out.
    make: Any = TypedDict
    return make(name, fields)


def _errors(wrong: ValidationError) -> list[Any]:
    return wrong.errors(include_input=False, include_url=False, include_context=False)
