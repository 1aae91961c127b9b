"""One way of asking over HTTP, for bodies of megabytes that must not outlive their use."""

from __future__ import annotations

from collections.abc import Mapping

import httpx


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
