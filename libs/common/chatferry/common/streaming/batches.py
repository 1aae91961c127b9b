"""Kafka's batches as aiokafka reads them, but for one kind of record that it stumbles over for ever.

UNREADABLE: what comes out of a poll when Kafka is there, and what it has sent cannot be read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

_PartitionRecords: Any = fetcher.PartitionRecords
UNREADABLE = (
    CorruptRecordException,
    UnsupportedCodecError,
    cramjam.DecompressionError,
    zlib.error,
    EOFError,
    ValueError,
    LookupError,
)


def mend_batches() -> None:
    """From now on a header's name that is no UTF-8 comes with its bytes escaped (`\\xff`). Repeating it is free.

    Kafka's broker takes such names, and some clients write them. aiokafka raises for the whole of what it has fetched,
    again and again, so that one record of a stranger would keep its partition for ever.
    """
    fetcher.MemoryRecords = _Batches
    fetcher.PartitionRecords = _Records


class _Batches:
    """What the fetcher asks of its `MemoryRecords`; and the newest batch once more, `leniently`."""

    def __init__(self, data: bytes) -> None:
        self._batches = _MemoryRecordsPy(data)
        self._newest: Any = None
        self._leniently = False

    def size_in_bytes(self) -> int:
        return int(self._batches.size_in_bytes())

    def has_next(self) -> bool:
        return self._leniently or bool(self._batches.has_next())

    def next_batch(self) -> Any:
        if self._leniently:
            self._leniently = False
            return _LenientBatch(self._newest)
        self._newest = self._batches._next_slice
        return self._batches.next_batch()

    def leniently(self) -> None:
        self._leniently = True


class _Records(_PartitionRecords):  # type: ignore[misc]
    """Goes on where a name ended it; what was handed over of that batch is known by its offset, and passed over."""

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except UnicodeDecodeError:
            self._records.leniently()
            self._records_iterator = self._unpack_records()
            return super().__next__()


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    def __iter__(self) -> Iterator[Any]:
        self._maybe_uncompress()
        self._buffer = _Lenient(self._buffer)  # type: ignore[has-type]
        return iter(self.__next__, None)


class _Lenient(bytearray):
    """Its parts are read as text whatever they hold."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Lenient(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        del errors
        return super().decode(encoding, "backslashreplace")
