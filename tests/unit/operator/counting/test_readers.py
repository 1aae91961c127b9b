"""What readers keep of their calls, and how it is judged once the truth is known."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from chatferry.common.errors import FatalError
from chatferry.operator.counting.judging import Truth
from chatferry.operator.counting.readers import Answered, Api, Record, read_on, seen_of

URL = "http://replica"


def row(number: int, count: int = 5, moment: str | None = "2026-11-21T10:00:00.250Z") -> dict[str, Any]:
    return {
        "id": number,
        "max_chat_id": -number,
        "participants_count": count,
        "participants_count_updated_at": moment,
        "participants_count_state": "fresh",
    }


def api(answer: Any) -> Api:
    return Api(httpx.AsyncClient(transport=httpx.MockTransport(answer)), [URL])


def page(rows: list[dict[str, Any]], cursor: str | None = None) -> httpx.Response:
    body = {"chats": rows, "next_cursor": cursor, "use_cached_participants": True, "total": 3}
    return httpx.Response(200, content=orjson.dumps(body))


def test_a_row_is_read_with_its_moment_in_milliseconds() -> None:
    one = seen_of(row(3))
    assert (one.chat, one.max_chat, one.count, one.state, one.updated_ms) == (3, -3, 5, "fresh", 1_795_255_200_250)
    assert seen_of(row(3, moment=None)).updated_ms == 0


def test_pages_wait_for_the_truth_of_their_time() -> None:
    record, truth = Record(0.0), Truth()
    record.answered(Answered(1_000, 1_010, (seen_of(row(3)),)), 0.01, cached=True)
    record.answered(Answered(3_000, 3_010, (seen_of(row(3)),)), 0.02, cached=True)
    truth.take(2_000, {-3: [(0, 5)]})
    record.judge(truth)
    assert (record.judged, record.right) == (1, 1)
    truth.take(4_000, {-3: [(0, 5), (2_500, 6)]})
    record.judge(truth)
    assert (record.judged, record.right, record.right_lately()) == (2, 1, 0.5)


def test_the_newest_seconds_are_told_apart_from_all() -> None:
    record, truth = Record(0.0), Truth()
    for moment, count in ((1_000, 4), (20_000, 5)):
        record.answered(Answered(moment, moment + 1, (seen_of(row(3, count)),)), 0.01, cached=True)
    truth.take(21_000, {-3: [(0, 5)]})
    record.judge(truth)
    assert (record.right_lately(), record.measured().right_share) == (1.0, 0.5)


def test_one_call_in_a_hundred_may_be_slower_than_the_p99() -> None:
    record = Record(0.0)
    for number in range(1, 201):
        record.answered(Answered(0, 1, ()), number / 1_000, cached=False)
    assert record.p99_ms() == pytest.approx(199)
    assert record.p99_ms(newest=100) == pytest.approx(200)


async def test_everything_is_read_page_by_page() -> None:
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params.get("cursor"))
        return page([row(1), row(2)], "c1") if asked[-1] is None else page([row(3)])

    assert [one.chat for one in await api(answer).everything(URL)] == [1, 2, 3]
    assert asked == [None, "c1"]


async def test_a_replica_that_does_not_answer_is_named_by_what_failed() -> None:
    with pytest.raises(FatalError, match="HTTPStatusError"):
        await api(lambda _: httpx.Response(503)).everything(URL)


async def test_readers_go_on_after_a_failure_and_count_it() -> None:
    answers = iter([httpx.Response(500)])
    record, enough = Record(0.0), asyncio.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        if len(record.took_s) >= 4:
            enough.set()
        return next(answers, page([row(1)]))

    reading = asyncio.create_task(read_on(api(answer), record))
    try:
        async with asyncio.timeout(10):
            await enough.wait()
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert record.failed == 1
    assert record.measured().requests == len(record.took_s) + 1
