"""Rows in memory that are known by the place of their record in Kafka, as the database keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chatferry.common.streaming.records import RawRecord, StoredRecord
from chatferry.importer.domain.records import place_of, shelved


def add_row(rows: dict[str, dict[str, Any]], raw: RawRecord, row: dict[str, Any]) -> None:
    """Unless there is one; one of a topic of old goes aside."""
    there = rows.get(place_of(raw))
    if there is not None and not is_row_of(rows, raw):
        older = _shelved_raw(_raw_of(there))
        name = "record" if "record" in there else "dead"
        moved = replace(there[name], raw=older)
        if name == "dead" and moved.record is not None:
            moved = replace(moved, record=replace(moved.record, raw=older))
        del rows[place_of(raw)]
        add_row(rows, older, {**there, name: moved})
    rows.setdefault(place_of(raw), row)


def is_row_of(rows: Mapping[str, Mapping[str, Any]], raw: RawRecord) -> bool:
    """Whether the record itself has a row, and not one of a topic of old."""
    row = rows.get(place_of(raw))
    return row is not None and _raw_of(row).timestamp == raw.timestamp


def _raw_of(row: Mapping[str, Any]) -> StoredRecord:
    """The record that the row is of."""
    raw = (row["record"] if "record" in row else row["dead"]).raw
    return raw if isinstance(raw, StoredRecord) else stored(raw)


def _shelved_raw(raw: StoredRecord) -> StoredRecord:
    """The same record where it stands aside."""
    return replace(raw, offset=shelved(raw.offset))


def stored(raw: RawRecord) -> StoredRecord:
    """As a collection gives it back."""
    return StoredRecord(raw.topic, raw.partition, raw.offset, raw.timestamp, raw.key, raw.value, tuple(raw.headers))
