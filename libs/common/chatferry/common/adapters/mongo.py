"""The one module that imports motor (ADR 0003): everything else sees `Collection` and `Database`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import bson
from bson.codec_options import CodecOptions
from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorClientSession,
    AsyncIOMotorCollection,
    AsyncIOMotorDatabase,
)
from pymongo import ASCENDING, DESCENDING, InsertOne, ReplaceOne, ReturnDocument, UpdateMany, UpdateOne, WriteConcern
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)
from pymongo.errors import ConfigurationError as UnreadableUrl
from pymongo.read_concern import ReadConcern

from chatferry.common.errors import ConfigurationError, OutageError

__all__ = [
    "ASCENDING",
    "DESCENDING",
    "NO_URL",
    "BulkWriteError",
    "Client",
    "Collection",
    "Database",
    "Document",
    "DuplicateKeyError",
    "InsertOne",
    "OperationFailure",
    "PyMongoError",
    "ReplaceOne",
    "ReturnDocument",
    "Session",
    "UpdateMany",
    "UpdateOne",
    "decode_batch",
    "decode_document",
    "encode_document",
    "mongo_outage",
    "open_client",
    "open_database",
    "refused_writes",
]

Document: TypeAlias = dict[str, Any]
Client: TypeAlias = AsyncIOMotorClient[Document]
Database: TypeAlias = AsyncIOMotorDatabase[Document]
Collection: TypeAlias = AsyncIOMotorCollection[Document]
Session: TypeAlias = AsyncIOMotorClientSession

_NAIVE: CodecOptions[Document] = CodecOptions(tz_aware=False)
# Codes of MongoDB that mean "this node cannot serve now": not primary, shutting down, interrupted, out of disk; or that
# it was started again between two batches of one answer and knows the cursor no more (43).
_AWAY = frozenset({43, 89, 91, 189, 9001, 10107, 11600, 11601, 11602, 13435, 13436, 14031})
NO_URL = "CHATFERRY_MONGODB is no URL of MongoDB, mongodb://host:27017/?replicaSet=rs0"
_UNKEPT = "MongoDB cannot keep what is written now; work goes on when it can"


def open_client(url: str, *, timeout_ms: int = 5_000) -> Client:
    """A client whose writes are journaled by a majority. Opens no connection yet.

    Raises ConfigurationError, which does not quote the URL: it may hold a password.
    """
    try:
        return AsyncIOMotorClient(
            url,
            serverSelectionTimeoutMS=timeout_ms,
            connectTimeoutMS=timeout_ms,
            socketTimeoutMS=60_000,
            w="majority",
            journal=True,
            retryWrites=True,
            retryReads=True,
            maxPoolSize=16,
        )
    except (UnreadableUrl, ValueError):
        raise ConfigurationError(f"{NO_URL}; signs in a password have to be escaped (%40 for @)") from None
    except OSError as unreadable:
        raise ConfigurationError(
            f"CHATFERRY_MONGODB: a file that it names cannot be read ({unreadable.strerror})"
        ) from None


def open_database(client: Client, name: str) -> Database:
    """The project's database: majority reads, so that what is read is never rolled back."""
    return client.get_database(
        name,
        codec_options=CodecOptions(tz_aware=True),
        read_concern=ReadConcern("majority"),
        write_concern=WriteConcern(w="majority", j=True),
    )


@contextmanager
def mongo_outage() -> Iterator[None]:
    """Turns "MongoDB cannot serve now" into OutageError("mongodb"); every other error passes."""
    try:
        yield
    except ConnectionFailure as away:
        raise OutageError("mongodb", "MongoDB cannot be reached; work goes on when it is back") from away
    except UnreadableUrl as unresolved:
        # Of a mongodb+srv:// the client asks the DNS at its first use only, and its answer may come later.
        sentence = "CHATFERRY_MONGODB leads nowhere: the DNS does not know its name, or it is no replica set"
        raise OutageError("mongodb", sentence) from unresolved
    except WriteConcernError as unkept:
        raise OutageError("mongodb", _UNKEPT) from unkept
    except OperationFailure as failure:
        if isinstance(failure, BulkWriteError):
            # Its own code says only "some write failed".
            refused_writes(failure)
        if failure.code in _AWAY or failure.has_error_label("TransientTransactionError"):
            raise OutageError("mongodb", f"MongoDB cannot serve now (code {failure.code})") from failure
        raise


def refused_writes(failure: BulkWriteError) -> dict[int, int]:
    """Code by position of each write of an unordered bulk that MongoDB refused; the others are done.

    Raises OutageError when MongoDB, not a write, was at fault: then any of them may be done or not.
    """
    details = failure.details or {}
    refused = {error["index"]: error["code"] for error in details.get("writeErrors", ())}
    if details.get("writeConcernErrors") or not _AWAY.isdisjoint(refused.values()):
        raise OutageError("mongodb", _UNKEPT) from failure
    return refused


def encode_document(document: Document) -> bytes:
    """One document as MongoDB would keep it, of any size."""
    return bson.encode(document)


def decode_document(raw: bytes) -> Document:
    """The other way."""
    return bson.decode(raw, _NAIVE)


def decode_batch(raw: bytes) -> list[Document]:
    """The documents of one raw batch (`find_raw_batches`), dates as naive UTC: the cheapest way to read many."""
    return bson.decode_all(raw, _NAIVE)
