"""The target's HTTP adapter against a real socket: what each failure is called, and what it never says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr
from tests.unit.importer.machine import Machine, chat

from chatferry.common.clock import SystemClock
from chatferry.common.entities import ENTITIES
from chatferry.common.errors import ConfigurationError
from chatferry.importer.adapters.target import HttpSettings, HttpTarget
from chatferry.importer.domain.records import read_record
from chatferry.importer.ports import CallFailedError, Trouble
from chatferry.importer.settings import ImporterSettings

SECRET = "abcdefgh-secret"
CHATS = ENTITIES["chats"]
RECORD = read_record(Machine().publish("chats", chat(1)), CHATS, "p")


@asynccontextmanager
async def _server(answer: bytes | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Answers every request with these bytes; None: hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            if answer is not None:
                writer.write(answer)
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/rest/1/{SECRET}"
    finally:
        server.close()
        await server.wait_closed()


def _http(status: int, body: bytes = b"{}", more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body


async def _failure(url: str, ca_file: Path | None = None) -> CallFailedError:
    target = HttpTarget(HttpSettings(url, ca_file, connect_s=1, answer_s=1), SystemClock())
    try:
        with pytest.raises(CallFailedError) as failed:
            await target.send(CHATS, [RECORD])
    finally:
        await target.close()
    assert SECRET not in f"{failed.value} {failed.value.sentence} {failed.value.__cause__}"
    return failed.value


@pytest.mark.parametrize(
    ("answer", "trouble", "code", "wait"),
    [
        (_http(500), Trouble.SHAKY, "target.http_500", None),
        (_http(503, more="retry-after: 7\r\n"), Trouble.SHAKY, "target.http_503", 7.0),
        (_http(429, more="retry-after: 3\r\n"), Trouble.THROTTLED, "target.http_429", 3.0),
        (_http(429, more="retry-after: 99999\r\n"), Trouble.THROTTLED, "target.http_429", 3_600.0),
        (_http(413), Trouble.REFUSED, "target.http_413", None),
        (_http(400), Trouble.REFUSED, "target.http_400", None),
        (_http(401), Trouble.DENIED, "target.http_401", None),
        (_http(404), Trouble.DENIED, "target.http_404", None),
        (_http(200, b"<html>"), Trouble.SHAKY, "target.protocol", None),
        (_http(200, b'{"results": []}'), Trouble.SHAKY, "target.protocol", None),
        (_http(200, b'{"results": [{"key": "other", "status": "created"}]}'), Trouble.SHAKY, "target.protocol", None),
        (b"HTTP/1.1 200 X\r\ncontent-length: 99\r\n\r\ncut", Trouble.SHAKY, "target.unreachable", None),
        (_http(200, b"plain", "content-encoding: gzip\r\n"), Trouble.SHAKY, "target.unreachable", None),
        (None, Trouble.SHAKY, "target.unreachable", None),
    ],
)
async def test_each_failure_has_its_trouble_and_code(
    answer: bytes | None, trouble: Trouble, code: str, wait: float | None
) -> None:
    async with _server(answer) as url:
        failed = await _failure(url)
    assert (failed.trouble, failed.code, failed.retry_after_s) == (trouble, code, wait)


async def test_a_foreign_certificate_says_what_to_do_and_a_named_authority_is_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    async with _server(_http(500), tls) as url:
        foreign = await _failure(url)
        assert (foreign.trouble, foreign.code) == (Trouble.DENIED, "target.certificate")
        assert "CHATFERRY_TARGET_CA_FILE" in foreign.sentence
        assert (await _failure(url, file)).code == "target.http_500"


def _settings(**changes: object) -> ImporterSettings:
    given = {"kafka": "k:1", "redis": "redis://r", "mongodb": "mongodb://m", **changes}
    return ImporterSettings.model_validate(given)


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda path: _settings(target_url=SecretStr("ftp://x/hush")).target(), "CHATFERRY_TARGET_URL"),
        (lambda path: _settings().target(), "CHATFERRY_TARGET_URL is not set"),
        (lambda path: _settings(target_url_file=path / "none").target(), "CHATFERRY_TARGET_URL_FILE"),
        (lambda path: _settings(batch_items={"chats": 0}).items(), "CHATFERRY_BATCH_ITEMS"),
        (lambda path: _settings(batch_items={"cats": 5}).items(), "CHATFERRY_BATCH_ITEMS"),
        (
            lambda path: HttpTarget(HttpSettings("http://x/rest/1/s", path / "no.pem"), SystemClock()),
            "CHATFERRY_TARGET_CA_FILE",
        ),
    ],
)
def test_a_wrong_setting_is_named_and_never_repeated(
    build: Callable[[Path], object], names: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        build(tmp_path)
    assert names in wrong.value.sentence
    assert "hush" not in wrong.value.sentence
