"""Answers and broken connections, the same for every simulated server."""

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import cast

from starlette.types import Scope, Send

TRANSPORT_KEY = "chatferry.transport"
"""Where the HTTP protocol puts its transport into the scope, for faults that end a connection."""

JSON_TYPE = b"application/json; charset=utf-8"
HTML_TYPE = b"text/html; charset=utf-8"
BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: bytes = JSON_TYPE
    headers: tuple[tuple[bytes, bytes], ...] = ()


async def send_answer(answer: Answer, send: Send, *, cut: bool = False) -> None:
    """`cut`: the connection ends in the middle of the body."""
    headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body)), *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if cut:
        # The server closes the connection of an application that leaves its answer unfinished.
        await send({"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True})
        return
    await send({"type": "http.response.body", "body": answer.body})


def reset(scope: Scope) -> None:
    """The peer gets RST: with a linger time of zero nothing is said goodbye to."""
    transport = cast("asyncio.Transport", scope[TRANSPORT_KEY])
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
