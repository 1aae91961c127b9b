"""A bare client, for tests of the simulated portal."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

Json = Any


@dataclass(frozen=True, slots=True)
class Rest:
    client: httpx.AsyncClient
    url: str

    async def answer(self, method: str, params: Json = None) -> httpx.Response:
        return await self.client.post(f"{self.url}/{method}", json=params or {})

    async def result(self, method: str, params: Json = None) -> Json:
        response = await self.answer(method, params)
        assert response.status_code == 200, response.text[:300]
        return response.json()["result"]

    async def error(self, method: str, params: Json = None) -> tuple[int, str]:
        response = await self.answer(method, params)
        return response.status_code, response.json()["error"]


def shared_folder() -> Path:
    """Real chats (`data/<name>/*.jsonl`) and recorded answers (`fixtures/`); without them the test is skipped."""
    given = os.environ.get("CHATFERRY_SHARED")
    folder = Path(given) if given else Path(__file__).resolve().parents[5] / "shared"
    if not folder.is_dir():
        pytest.skip(
            "there is no folder of real chats (data/) and recorded answers (fixtures/): name one in CHATFERRY_SHARED,"
            " or put it beside the repository as shared/"
        )
    return folder


def fixture(method: str) -> Json:
    path = shared_folder() / "fixtures" / "bitrix24" / f"{method}.json"
    return json.loads(path.read_text(encoding="utf-8"))
