"""One way of asking over HTTP, for bodies of megabytes that must not outlive their use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx


def is_http_url(text: str) -> bool:
    """Whether it can be asked: http or https, a host, a port that is one. What cannot would raise at the first call."""
    try:
        parts = urlsplit(text)
        httpx.URL(text)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False
    return named and re.search(r"\s", text) is None


async def post(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float | None = None,
) -> httpx.Response:
    """The whole response, freed as soon as nobody holds it. `timeout_s` overrides the client's. Raises httpx.HTTPError.

    A response and the stream it was read from hold each other, so that its body and its request's would wait for the
    garbage collector; here the stream is let go once it has been read.
    """
    timeout = httpx.USE_CLIENT_DEFAULT if timeout_s is None else timeout_s
    response = await client.post(url, content=body, headers=headers, timeout=timeout)
    response.stream = httpx.ByteStream(b"")
    return response
