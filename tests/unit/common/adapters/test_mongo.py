"""Which failures of MongoDB are an outage: no record may be blamed for those, and none may be taken for written."""

from __future__ import annotations

import pytest
from pymongo.errors import AutoReconnect, CursorNotFound, OperationFailure, WriteConcernError
from pymongo.errors import ConfigurationError as UnresolvedError

from chatferry.common.adapters.mongo import BulkWriteError, mongo_outage, open_client, refused_writes
from chatferry.common.errors import ConfigurationError, OutageError

NOT_PRIMARY, DUPLICATE, OUT_OF_DISK, TOO_LARGE = 10107, 11000, 14031, 10334


def _bulk(*codes: int, concern: int | None = None) -> BulkWriteError:
    return BulkWriteError(
        {
            "writeErrors": [{"index": index, "code": code, "errmsg": "no"} for index, code in enumerate(codes)],
            "writeConcernErrors": [] if concern is None else [{"code": concern, "errmsg": "not kept"}],
        }
    )


@pytest.mark.parametrize(
    "failure",
    [
        AutoReconnect("gone"),
        OperationFailure("stepping down", 189),
        CursorNotFound("the server was started again between two batches", 43),
        OperationFailure("the operation was interrupted", 11601),
        WriteConcernError("waiting for replication timed out", 64),
        _bulk(OUT_OF_DISK),
        _bulk(DUPLICATE, NOT_PRIMARY),
        _bulk(concern=189),
        _bulk(DUPLICATE, concern=64),
    ],
    ids=[
        "connection",
        "code",
        "cursor",
        "interrupted",
        "majority",
        "bulk, disk",
        "bulk, primary",
        "bulk, majority",
        "bulk, both",
    ],
)
def test_what_mongodb_cannot_keep_is_an_outage(failure: Exception) -> None:
    with pytest.raises(OutageError) as away, mongo_outage():
        raise failure
    assert away.value.part == "mongodb"


@pytest.mark.parametrize("failure", [_bulk(TOO_LARGE), OperationFailure("bad pipeline", 40324)])
def test_a_refused_write_is_no_outage(failure: Exception) -> None:
    with pytest.raises(type(failure)), mongo_outage():
        raise failure


def test_refused_writes_are_told_by_position() -> None:
    assert refused_writes(_bulk(DUPLICATE, TOO_LARGE)) == {0: DUPLICATE, 1: TOO_LARGE}


def test_a_write_that_no_majority_keeps_is_never_taken_for_written() -> None:
    with pytest.raises(OutageError):
        refused_writes(_bulk(concern=189))


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://me:s3cr@t@h/",
        "mongodb://me:s3cret@h:port/",
        "mongodb://me:s3cret@h:99999/",
        "mongodb://me:s3cret@[::1/",
        "mongodb://me:s3cret@h1,h2/?directConnection=true",
        "mongodb://me:s3cret@h/?tls=true&tlsCAFile=/nowhere",
        "mongodb://",
        "",
    ],
)
async def test_a_url_that_cannot_be_read_is_told_by_its_variable_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="CHATFERRY_MONGODB") as wrong:
        open_client(url)
    assert "s3cr" not in wrong.value.sentence


def test_a_name_that_the_dns_does_not_resolve_is_an_outage_and_not_the_end() -> None:
    with pytest.raises(OutageError) as away, mongo_outage():
        raise UnresolvedError("The DNS query name does not exist")
    assert away.value.part == "mongodb"
    assert "CHATFERRY_MONGODB" in away.value.sentence
