from pathlib import Path

import pytest

from chatferry.stack import GivenAddresses, StackError, addresses_from_environment
from chatferry.stack.addresses import without_secret
from chatferry.stack.errors import UnhealthyError
from chatferry.stack.mongodb import MongoDB
from chatferry.stack.redis import Redis


def test_nothing_in_the_environment_gives_nothing() -> None:
    assert addresses_from_environment({"PATH": "/bin", "CHATFERRY_KAFKA": " "}) == GivenAddresses()


def test_each_address_stands_for_itself() -> None:
    given = addresses_from_environment({"CHATFERRY_KAFKA": "a:9092,b:9092"})
    assert (given.of("kafka"), given.of("mongodb"), given.of("redis")) == ("a:9092,b:9092", None, None)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CHATFERRY_KAFKA", "kafka://secret@host:1"),
        ("CHATFERRY_KAFKA", "host"),
        ("CHATFERRY_MONGODB", "secret:27017"),
        ("CHATFERRY_REDIS", "secret"),
    ],
)
def test_what_is_no_address_is_refused_by_name_and_not_repeated(variable: str, value: str) -> None:
    with pytest.raises(StackError, match=variable) as refused:
        addresses_from_environment({variable: value})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("part", "address"),
    [
        (MongoDB({}, Path()), "mongodb://me:s3cret@h:port/"),
        (MongoDB({}, Path()), "mongodb://me:s3cr@t@h/"),
        (MongoDB({}, Path()), "mongodb://me:s3cret@h/?tls=true&tlsCAFile=/nowhere"),
        (Redis({}, Path()), "redis://me:s3cret@h:port/0"),
        (Redis({}, Path()), "redis://:s3cret/x@h/0"),
        (Redis({}, Path()), "redis://[::1"),
    ],
)
def test_an_address_that_cannot_be_read_is_told_and_not_repeated(part: MongoDB | Redis, address: str) -> None:
    with pytest.raises(UnhealthyError) as unusable:
        part.check(address)
    assert "s3cr" not in str(unusable.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mongodb://me:p%40ss@db:27017/?replicaSet=rs0", "mongodb://db:27017/?replicaSet=rs0"),
        ("redis://:p@ss@cache:6379/0", "redis://cache:6379/0"),
        ("redis://:a/b@cache:6379/0", "redis://cache:6379/0"),
        ("redis://cache:6379/0?password=abc&db=1", "redis://cache:6379/0?password=…&db=1"),
        (
            "mongodb://db/?tls=true&tlsCertificateKeyFilePassword=abc&w=1",
            "mongodb://db/?tls=true&tlsCertificateKeyFilePassword=…&w=1",
        ),
        ("127.0.0.1:9092", "127.0.0.1:9092"),
    ],
)
def test_a_shown_address_has_no_password(address: str, shown: str) -> None:
    assert without_secret(address) == shown
