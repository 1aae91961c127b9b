"""Who may call, and how much is held at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import Request
from starlette.types import Message

from chatferry.chat.admission import Access, Bodies
from chatferry.chat.refusals import RefusedCallError

ACCESS = Access(b"1", (b"new-secret", b"old-secret"))


@pytest.mark.parametrize("secret", ["new-secret", "old-secret"])
def test_every_known_secret_opens(secret: str) -> None:
    ACCESS.check("1", secret)


@pytest.mark.parametrize(("user", "secret"), [("2", "new-secret"), ("1", "new-secre"), ("1", ""), ("", ""), ("1", "Ж")])
def test_anything_else_is_401(user: str, secret: str) -> None:
    with pytest.raises(RefusedCallError) as refused:
        ACCESS.check(user, secret)
    assert refused.value.status == 401


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
    async with Bodies(10, 10).body(request(b"abc", b"de")) as body:
        assert body == b"abcde"


@pytest.mark.parametrize("length", [11, "9" * 400])
async def test_an_announced_excess_is_refused_without_reading(length: int | str) -> None:
    async def unread() -> Message:
        raise AssertionError("the body was read")

    asked = Request({"type": "http", "headers": [(b"content-length", str(length).encode())]}, unread)
    with pytest.raises(RefusedCallError) as refused:
        async with Bodies(10, 10).body(asked):
            pass
    assert refused.value.status == 413


async def test_an_excess_that_was_not_announced_is_refused_too() -> None:
    bodies = Bodies(10, 10)
    with pytest.raises(RefusedCallError):
        async with bodies.body(request(b"x" * 6, b"x" * 6)):
            pass
    async with bodies.body(request(b"x" * 10)) as body:
        assert len(body) == 10


async def test_a_body_waits_until_there_is_room_for_it() -> None:
    bodies = Bodies(10, 15)
    held, leave = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with bodies.body(request(b"x" * 10, length=10)):
            held.set()
            await leave.wait()

    async def second() -> None:
        async with bodies.body(request(b"x" * 10, length=10)):
            assert leave.is_set()

    tasks = [asyncio.create_task(first())]
    await held.wait()
    tasks.append(asyncio.create_task(second()))
    async with bodies.body(request(b"x" * 5, length=5)):  # there is room for a small one
        pass
    assert not tasks[1].done()
    leave.set()
    await asyncio.gather(*tasks)
