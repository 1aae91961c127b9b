"""What a service says of itself while a part is away."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount

from chatferry.common import service
from chatferry.common.adapters.mongo import open_client
from chatferry.common.errors import ConfigurationError, OutageError
from chatferry.common.settings import BaseServiceSettings


def test_a_part_counts_as_back_only_after_longer_than_it_takes_to_find_out_that_it_is_away() -> None:
    looks_for_ms = inspect.signature(open_client).parameters["timeout_ms"].default
    assert looks_for_ms / 1000 + 1 < service._CALM_S


async def test_parts_that_were_away_one_after_the_other_are_all_back_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "_CALM_S", 0.05)
    monkeypatch.setattr(service, "_FIRST_WAIT_S", 0.001)
    context, away = service.Context(), ["mongodb", "kafka"]

    async def work(_: service.Context) -> None:
        if away:
            raise OutageError(away.pop(0), "it is away")
        await context.stopping.wait()

    working = asyncio.create_task(service._keep_working(work, context))
    async with asyncio.timeout(5):
        while away or context.health.outages:  # noqa: ASYNC110 - health tells nobody
            await asyncio.sleep(0.005)
        context.stopping.set()
        await working


async def test_a_part_that_answered_is_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_FIRST_WAIT_S", 0.001)
    context, away = service.Context(), ["mongodb", "mongodb"]
    seen: list[set[str]] = []

    async def work(_: service.Context) -> None:
        seen.append(set(context.health.outages))
        if away:
            raise OutageError(away.pop(), "it is away")
        context.reached("mongodb", "kafka")
        seen.append(set(context.health.outages))
        context.stopping.set()

    async with asyncio.timeout(5):
        await service._keep_working(work, context)
    assert seen == [set(), {"mongodb"}, {"mongodb"}, set()]
    assert context.metrics.registry.get_sample_value("outage", {"part": "mongodb"}) == 0


def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **settings: Path) -> tuple[int, str]:
    """Exit code and last words of a service with these settings."""

    async def work(context: service.Context) -> None:
        await context.stopping.wait()

    monkeypatch.setenv("CHATFERRY_MONGODB", "mongodb://127.0.0.1:1/")
    for name, value in settings.items():
        monkeypatch.setenv(f"CHATFERRY_{name.upper()}", str(value))
    for untouched in ("configure_logs", "configure_traces", "settle_memory", "mend_connections", "mend_wait_for"):
        monkeypatch.setattr(service, untouched, lambda *_: None)
    with pytest.raises(SystemExit) as end:
        service.run_service("unit", BaseServiceSettings, lambda _: work)
    return int(end.value.code or 0), capsys.readouterr().err


def test_an_address_file_that_cannot_be_written_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, said = ended(monkeypatch, capsys, address_file=tmp_path / "nobody" / "x")
    assert code == service.EXIT_FATAL
    assert said.startswith("chatferry unit: CHATFERRY_ADDRESS_FILE: ")
    assert "cannot be written (No such file or directory)" in said
    assert said.count("\n") == 1


def test_a_certificate_that_cannot_be_shown_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (text := tmp_path / "text").write_text("no PEM", encoding="utf-8")
    for settings in ({"http_cert_file": text}, {"http_cert_file": tmp_path}, {"http_cert_file": tmp_path / "nobody"}):
        code, said = ended(monkeypatch, capsys, **settings)
        assert code == service.EXIT_FATAL
        assert said.startswith(f"chatferry unit: CHATFERRY_HTTP_CERT_FILE: {settings['http_cert_file']} ")
        assert said.count("\n") == 1
    monkeypatch.delenv("CHATFERRY_HTTP_CERT_FILE")
    code, said = ended(monkeypatch, capsys, http_key_file=text)
    assert code == service.EXIT_FATAL
    assert "without CHATFERRY_HTTP_CERT_FILE" in said


def test_a_certificate_with_its_key_is_taken_and_a_key_with_a_password_is_not_asked_for(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    (both := tmp_path / "both").write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    (alone := tmp_path / "alone").write_bytes(issued.cert_chain_pems[0].bytes())
    (key := tmp_path / "key").write_bytes(issued.private_key_pem.bytes())
    service._check_certificate(both, None)
    service._check_certificate(alone, key)
    service._check_certificate(None, None)
    locked = load_pem_private_key(key.read_bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hidden")
    )
    key.write_bytes(locked)
    with pytest.raises(ConfigurationError, match="without a password"):
        service._check_certificate(alone, key)


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
async def test_metrics_are_where_prometheus_looks_by_default_also_beside_a_services_own_root(path: str) -> None:
    context = service.Context()
    root = Mount("/", app=Response(status_code=404))
    app = Starlette(routes=[*service._own_routes(context), root])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as http:
        answer = await http.get(path)
    assert answer.status_code == 200
    assert "outage" in answer.text
