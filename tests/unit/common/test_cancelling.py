"""What is cancelled ends."""

from __future__ import annotations

import asyncio

import pytest

from chatferry.common.cancelling import mend_wait_for


@pytest.fixture(autouse=True)
def _mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "wait_for", asyncio.wait_for)
    mend_wait_for()


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancellation_is_heard_in_whichever_turn_of_the_loop_the_result_comes(turns: int) -> None:
    answered = asyncio.Event()
    went_on = False

    async def send() -> None:
        nonlocal went_on
        await asyncio.wait_for(answered.wait(), 5)
        await asyncio.sleep(0.01)
        went_on = True

    task = asyncio.create_task(send())
    for _ in range(3):
        await asyncio.sleep(0)
    answered.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not went_on


@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_what_takes_too_long_is_given_up(seconds: float) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


async def test_a_result_in_time_is_the_result() -> None:
    assert await asyncio.wait_for(asyncio.sleep(0, "there"), 5) == "there"
