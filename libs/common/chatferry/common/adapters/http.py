"""One way of asking over HTTP, for bodies of megabytes that must not outlive their use."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType

import httpx

ON_THIS_MACHINE: Mapping[str, httpx.AsyncBaseTransport | None] = MappingProxyType(
    {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}
)
"""`mounts` of a client that asks the portal or MAX: through the proxy of the environment (HTTPS_PROXY) if there is one,
but not for what runs here. The target and our own services are asked without one."""
_OF_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class TooLargeError(httpx.HTTPError):
    """An answer longer than it may be; the rest of it was not read."""


async def post(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float | None = None,
    within_s: float | None = None,
    at_most: int | None = None,
) -> httpx.Response:
    """The whole response, freed as soon as nobody holds it. `timeout_s` overrides the client's. Raises httpx.HTTPError.

    `within_s`: for the whole call, where a time-out of the client is for each of its reads: an answer that trickles
    never meets one. It ends as one that does not come, with a ReadTimeout.
    `at_most`: bytes of the answer, unpacked. One that is longer raises TooLargeError, with no more than that in hand.

    A response and the stream it was read from hold each other, so that its body and its request's would wait for the
    garbage collector; here the stream is let go once it has been read.
    """
    timeout = httpx.USE_CLIENT_DEFAULT if timeout_s is None else timeout_s
    request = client.build_request("POST", url, content=body, headers=headers, timeout=timeout)
    try:
        async with asyncio.timeout(within_s):
            response, content = await _whole(client, request, at_most)
    except TimeoutError:
        raise httpx.ReadTimeout(f"no whole answer within {within_s:g} s", request=request) from None
    told = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_WIRE]
    return httpx.Response(response.status_code, headers=told, content=content, request=request)


async def _whole(
    client: httpx.AsyncClient, request: httpx.Request, at_most: int | None
) -> tuple[httpx.Response, bytes]:
    response = await client.send(request, stream=True)
    try:
        return response, await _content(response, at_most)
    finally:
        await response.aclose()
        response.stream = httpx.ByteStream(b"")


async def _content(response: httpx.Response, at_most: int | None) -> bytes:
    chunks, length = [], 0
    async for chunk in response.aiter_bytes():
        chunks.append(chunk)
        length += len(chunk)
        if at_most is not None and length > at_most:
            raise TooLargeError(f"an answer of more than {at_most} bytes")
    return b"".join(chunks)


def retry_after_s(response: httpx.Response, now: datetime, longest_s: float) -> float | None:
    """Seconds that the answer asks to wait for, `longest_s` at most; None when it says none, or nonsense.

    A moment is told by the answer's own `Date`, so that one clock alone is asked; `now` is where there is none.
    """
    told = response.headers.get("retry-after", "").strip()
    if told.isascii() and told.isdigit():
        return min(float(told), longest_s)
    moment = _moment(told)
    if moment is None:
        return None
    wait_s = (moment - (_moment(response.headers.get("date", "")) or now)).total_seconds()
    return min(max(wait_s, 0.0), longest_s)


def _moment(told: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(told)
    except (TypeError, ValueError, OverflowError):
        return None
    # One of HTTP's three forms names no zone; all of them mean UTC.
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
