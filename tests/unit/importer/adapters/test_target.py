"""What the importer makes of a target that answers oddly."""

from __future__ import annotations

import httpx
import pytest
from tests.unit.importer.machine import Machine, chat

from chatferry.common.entities import ENTITIES
from chatferry.importer.adapters.target import HttpSettings, HttpTarget
from chatferry.importer.domain.records import read_record
from chatferry.importer.ports import CallFailedError, Trouble

CHATS = ENTITIES["chats"]
RECORD = read_record(Machine().publish("chats", chat(1)), CHATS, "p")
PAGE = b"<html>We are down for maintenance</html>"


def _target(answer: httpx.Response, answer_s: float = 5.0) -> HttpTarget:
    settings = HttpSettings("http://target/rest/1/abcdefgh-secret", answer_s=answer_s)
    return HttpTarget(settings, httpx.MockTransport(lambda _: answer))


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
