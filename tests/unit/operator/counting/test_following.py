"""How long changes take to show, as a reader sees it."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from chatferry.operator.counting.following import Follower
from chatferry.operator.counting.options import Options
from chatferry.operator.counting.platform import Control
from chatferry.operator.counting.readers import Api, Record

CHAT, OWN = -70, 7


class Stage:
    """MAX's truth and what is served, as a test says; the time is a number."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000.0
        self.steps: list[list[int | None]] = [[0, 5]]
        self.served: tuple[int, str] = (5, "fresh")
        self.failing = False
        control = httpx.AsyncClient(base_url="http://max/control/", transport=httpx.MockTransport(self._truth))
        api = httpx.AsyncClient(transport=httpx.MockTransport(self._count))
        record = Record(0.0, clock=lambda: self.now_ms / 1_000)
        self.follower = Follower(Control(control), Api(api, ["http://replica"]), record, Options(chats=1))
        self.follower.own = {CHAT: OWN}
        self.follower.titles = {CHAT: "A room"}

    def _truth(self, request: httpx.Request) -> httpx.Response:
        told: dict[str, Any]
        if request.url.path.endswith("/history"):
            told = {"now_ms": int(self.now_ms), "history": {str(CHAT): self.steps}}
        elif request.url.path.endswith("/calls"):
            told = {"total": 10, "reads": 9, "max_in_any_second": 3, "reads_twice_at_once": 0, "by_status": {"200": 10}}
        else:
            told = {"events": {"changes": {"total": 4, "missed": 1}}, "subscriptions": []}
        return httpx.Response(200, content=orjson.dumps(told))

    def _count(self, request: httpx.Request) -> httpx.Response:
        if self.failing:
            return httpx.Response(503)
        assert orjson.loads(request.content) == {"ids": [OWN]}
        count = {
            "participants_count": self.served[0],
            "participants_count_state": self.served[1],
            "participants_count_updated_at": "1970-01-01T00:16:39.000Z",
        }
        return httpx.Response(200, content=orjson.dumps({"counts": {str(OWN): count}}))

    async def at(self, now_ms: float) -> None:
        self.now_ms = now_ms
        await self.follower.look()


async def test_a_change_shows_when_a_reader_gets_the_new_count() -> None:
    stage = Stage()
    await stage.at(1_000_000)
    stage.steps.append([1_000_500, 6])
    await stage.at(1_000_600)
    [row] = stage.follower.picture("changing", 0.5, 10).rows
    assert (row.title, row.truth, row.served, row.right, row.lag_s) == ("A room", 6, 5, False, None)
    stage.served = (6, "provisional")
    await stage.at(1_000_900)
    picture = stage.follower.picture("changing", 0.5, 10)
    [row] = picture.rows
    assert (row.served, row.state, row.right) == (6, "provisional", True)
    assert [row.lag_s, row.changed_s] == pytest.approx([0.4, 0.4])
    assert row.age_s == pytest.approx(1.9)
    assert [picture.lag_p50_s, picture.lag_most_s] == pytest.approx([0.4, 0.4])


async def test_a_change_that_another_overtakes_counts_from_the_first() -> None:
    stage = Stage()
    await stage.at(1_000_000)
    stage.steps.append([1_000_500, 6])
    await stage.at(1_000_600)
    stage.steps.append([1_001_500, 7])
    await stage.at(1_001_600)
    stage.served = (7, "fresh")
    await stage.at(1_002_500)
    assert stage.follower.picture("changing", 0.5, 10).lag_most_s == pytest.approx(2.0)


async def test_that_the_bot_was_put_out_shows_as_a_frozen_count() -> None:
    stage = Stage()
    await stage.at(1_000_000)
    stage.steps.append([1_000_500, None])
    await stage.at(1_000_600)
    assert not stage.follower.picture("changing", 0.5, 10).rows[0].right
    stage.served = (5, "frozen")
    await stage.at(1_000_700)
    assert stage.follower.picture("changing", 0.5, 10).rows[0].right


async def test_a_replica_that_fails_is_no_end_and_no_news() -> None:
    stage = Stage()
    await stage.at(1_000_000)
    stage.steps.append([1_000_500, 6])
    stage.failing = True
    await stage.at(1_000_600)
    [row] = stage.follower.picture("changing", 0.5, 10).rows
    assert (row.served, row.right) == (None, False)


async def test_where_nobody_listens_every_change_is_missed() -> None:
    stage = Stage()
    await stage.at(1_000_000)
    picture = stage.follower.picture("changing", 0.5, 10)
    assert (picture.changes, picture.missed, picture.calls_per_s) == (4, 4, 2.0)
