"""What the importer makes of a target that answers oddly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from tests.unit.bodies import endless, trickling
from tests.unit.importer.fakes import FakeClock
from tests.unit.importer.machine import Machine, chat

from chatferry.common.entities import ENTITIES
from chatferry.importer.adapters.target import HttpSettings, HttpTarget
from chatferry.importer.domain.records import read_record
from chatferry.importer.ports import CallFailedError, Trouble

CHATS = ENTITIES["chats"]
RECORD = read_record(Machine().publish("chats", chat(1)), CHATS, "p")
PAGE = b"<html>We are down for maintenance</html>"


def _target(answer: httpx.Response, answer_s: float = 5.0) -> HttpTarget:
    settings = HttpSettings("http://target/rest/1/abcdefgh-secret", connect_s=0.2, answer_s=answer_s)
    return HttpTarget(settings, FakeClock(), httpx.MockTransport(lambda _: answer))


async def _probe(answer: httpx.Response) -> CallFailedError:
    target = _target(answer)
    try:
        with pytest.raises(CallFailedError) as failed:
            await target.probe(CHATS)
    finally:
        await target.close()
    assert "secret" not in f"{failed.value} {failed.value.__cause__}"
    return failed.value


async def test_a_count_is_the_answer_of_a_target() -> None:
    target = _target(httpx.Response(200, content=b'{"count":0}'))
    await target.probe(CHATS)
    await target.close()


@pytest.mark.parametrize(
    "body", [PAGE, b"", b"{}", b"[]", b"null", b'{"count":null}', b'{"count":-1}', b'{"count":"x"}']
)
async def test_a_page_in_the_place_of_a_target_is_no_answer_to_a_probe(body: bytes) -> None:
    failed = await _probe(httpx.Response(200, content=body))
    assert (failed.trouble, failed.code) == (Trouble.SHAKY, "target.protocol")
    assert "correct its URL" in failed.sentence


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize(
    ("body", "code"), [(trickling, "target.unreachable"), (endless, "target.protocol")], ids=["trickles", "endless"]
)
@pytest.mark.parametrize("asked", ["send", "probe"])
async def test_an_answer_that_does_not_end_is_no_answer(
    status: int, body: Callable[[], AsyncIterator[bytes]], code: str, asked: str
) -> None:
    target = _target(httpx.Response(status, content=body()), answer_s=0.2)
    call = target.send(CHATS, [RECORD]) if asked == "send" else target.probe(CHATS)
    with pytest.raises(CallFailedError) as failed:
        await asyncio.wait_for(call, 10)
    await target.close()
    assert (failed.value.trouble, failed.value.code) == (Trouble.SHAKY, code)
    assert "secret" not in f"{failed.value} {failed.value.__cause__}"


@pytest.mark.parametrize(
    ("status", "told", "waits"),
    [
        (503, {"retry-after": "Thu, 01 Jan 2026 00:02:00 GMT"}, 120.0),
        (429, {"retry-after": "Mon, 05 May 2025 05:05:25 GMT", "date": "Mon, 05 May 2025 05:05:05 GMT"}, 20.0),
        (429, {"retry-after": "Mon, 05 May 2025 05:05:25 GMT"}, 1.0),
        (503, {"retry-after": "soon"}, None),
    ],
)
async def test_a_moment_to_come_again_at_is_obeyed(status: int, told: dict[str, str], waits: float | None) -> None:
    assert (await _probe(httpx.Response(status, headers=told))).retry_after_s == waits
