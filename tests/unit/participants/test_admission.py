"""Who may call, how often, and how large a body may be."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from starlette.requests import Request
from starlette.types import Message
from tests.unit.participants.readers import HandClock

from chatferry.common.errors import ConfigurationError
from chatferry.participants.admission import Keys, Rates, Secret, read_body
from chatferry.participants.refusals import RefusedCallError

KEYS = Keys(["first-key", "второй", "third"])


@pytest.mark.parametrize(("given", "which"), [("first-key", 0), ("второй", 1), ("third", 2)])
def test_every_known_key_opens_and_is_told_from_the_others(given: str, which: int) -> None:
    assert KEYS.check(given) == which


@pytest.mark.parametrize("given", [None, "", "first-ke", "first-key ", "FIRST-KEY", "first-key,third", "\udcff"])
def test_anything_else_is_401(given: str | None) -> None:
    with pytest.raises(RefusedCallError) as refused:
        KEYS.check(given)
    assert refused.value.status == 401


def test_a_service_without_keys_does_not_start() -> None:
    with pytest.raises(ConfigurationError):
        Keys([])


@pytest.mark.parametrize("given", [None, "", "secre", "secret2"])
def test_a_wrong_secret_of_max_is_401(given: str | None) -> None:
    with pytest.raises(RefusedCallError) as refused:
        Secret("secret").check(given)
    assert refused.value.status == 401


def test_the_right_secret_of_max_opens() -> None:
    Secret("secret").check("secret")


def test_an_empty_secret_is_not_opened_by_a_missing_header() -> None:
    with pytest.raises(RefusedCallError):
        Secret("").check(None)


def _allowed(rates: Rates, key: int, times: int) -> int:
    return sum(_refusal(rates, key) is None for _ in range(times))


def _refusal(rates: Rates, key: int) -> RefusedCallError | None:
    try:
        rates.take(key)
    except RefusedCallError as refused:
        return refused
    return None


def test_who_is_refused_is_told_when_there_is_room_again() -> None:
    rates = Rates(1, HandClock())
    assert _refusal(rates, 0) is None
    refused = _refusal(rates, 0)
    assert refused is not None
    assert (refused.status, refused.retry_after_s) == (429, 1)


def test_a_key_may_send_its_rate_and_then_waits() -> None:
    clock = HandClock()
    rates = Rates(10, clock)
    assert _allowed(rates, 0, 30) == 10
    clock.seconds += 0.5
    assert _allowed(rates, 0, 30) == 5
    clock.seconds += 3_600
    assert _allowed(rates, 0, 30) == 10


def test_who_goes_on_while_refused_gets_the_rate_still() -> None:
    clock, done = HandClock(), 0
    rates = Rates(10, clock)
    for _ in range(1_000):
        clock.seconds += 0.01
        done += _allowed(rates, 0, 1)
    assert 100 <= done <= 110


def test_one_keys_rate_is_not_anothers() -> None:
    rates = Rates(3, HandClock())
    assert _allowed(rates, 0, 5) == 3
    assert _allowed(rates, 1, 5) == 3


def request(*chunks: bytes, length: int | str | None = None) -> Request:
    parts: Sequence[bytes] = chunks or (b"",)
    messages = iter(
        {"type": "http.request", "body": chunk, "more_body": at < len(parts) - 1} for at, chunk in enumerate(parts)
    )

    async def receive() -> Message:
        return next(messages)

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def test_a_body_is_put_together() -> None:
    assert await read_body(request(b"abc", b"de"), 5) == b"abcde"


@pytest.mark.parametrize("length", [11, "9" * 400])
async def test_an_announced_excess_is_refused_without_reading(length: int | str) -> None:
    async def unread() -> Message:
        raise AssertionError("the body was read")

    asked = Request({"type": "http", "headers": [(b"content-length", str(length).encode())]}, unread)
    with pytest.raises(RefusedCallError) as refused:
        await read_body(asked, 10)
    assert refused.value.status == 413


@pytest.mark.parametrize("length", [None, 3, "-1", "٣"])
async def test_an_excess_that_was_not_announced_is_refused_too(length: int | str | None) -> None:
    asked = request(b"x" * 6, b"x" * 6)
    if length is not None:
        asked = Request({**asked.scope, "headers": [(b"content-length", str(length).encode("utf-8"))]}, asked.receive)
    with pytest.raises(RefusedCallError) as refused:
        await read_body(asked, 10)
    assert refused.value.status == 413
