from collections.abc import AsyncIterator

import httpx
import pytest
from tests.contract.simulators.max.helpers import Max, Receiver, receiver

from chatferry.simulators.max import Api, Delivery, Running, Script, Serve, Settings, Size, serve

SETTINGS = Settings(
    api=Api(rate_per_s=0, updates_per_s=0, nothing="absent"),
    delivery=Delivery(https_only=False, extra_user_id=0),
    script=Script(changes_per_minute=0),
)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    """Twenty chats, without limits, that change by nobody's will but the test's."""
    size = Size(seed=3, chats=20, largest=250, dialogs=0.1, channels=0.2)
    async with serve(size, SETTINGS, Serve(token="contract-token")) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
def api(running: Running, client: httpx.AsyncClient) -> Max:
    return Max(client, running.http, running.token)


@pytest.fixture
async def bot_server() -> AsyncIterator[Receiver]:
    async with receiver() as server:
        yield server
