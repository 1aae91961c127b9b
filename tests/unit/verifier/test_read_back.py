"""What the verifier makes of a target that answers oddly."""

from __future__ import annotations

import httpx
import pytest

from chatferry.common.entities import ENTITIES
from chatferry.common.errors import OutageError
from chatferry.common.telemetry.metrics import Metrics
from chatferry.verifier.adapters.target import HttpTarget


async def _outage(answer: httpx.Response) -> OutageError:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer)) as http:
        target = HttpTarget(http, "http://target/rest/1/abcdefgh-secret", 500, Metrics())
        with pytest.raises(OutageError) as away:
            await target.count(ENTITIES["chats"])
    assert "secret" not in f"{away.value} {away.value.__cause__}"
    return away.value


@pytest.mark.parametrize(("told", "waits"), [("7", 7.0), ("99999999", 60.0), ("soon", None)])
async def test_a_target_is_waited_for_as_long_as_it_asks_but_a_minute_at_most(told: str, waits: float | None) -> None:
    away = await _outage(httpx.Response(503, headers={"retry-after": told}))
    assert away.retry_after_s == waits


async def test_an_answer_that_cannot_be_unpacked_is_an_outage() -> None:
    await _outage(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"plain")))
