import ssl
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.contract.simulators.bitrix24.helpers import Rest

from chatferry.simulators.bitrix24 import GeneratorSettings, Portal, Running, generate, new_webhook, serve


@pytest.fixture
def portal() -> Portal:
    """Generated, with a webhook of the owner account and one of employee 1."""
    portal = generate(GeneratorSettings(seed=5, users=70, chats=40, messages=2500))
    new_webhook(portal, max(portal.users))
    new_webhook(portal, 1)
    return portal


@pytest.fixture
async def running(portal: Portal) -> AsyncIterator[Running]:
    async with serve(portal) as running:
        yield running


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    trust = ssl.create_default_context(cafile=str(running.ca_file))
    async with httpx.AsyncClient(verify=trust, timeout=10) as client:
        yield client


@pytest.fixture
def owner(running: Running, client: httpx.AsyncClient) -> Rest:
    """Through the webhook that sees everything."""
    return Rest(client, running.webhook_url(max(running.portal.users)))


@pytest.fixture
def employee(running: Running, client: httpx.AsyncClient) -> Rest:
    return Rest(client, running.webhook_url(1))
