"""The `time` object and the envelopes around results and errors."""

from datetime import datetime, timedelta, timezone

from chatferry.simulators.bitrix24 import jsontext
from chatferry.simulators.bitrix24.errors import PortalError


class Stamp:
    """Renders points of time with the portal's offset; the last second is remembered, as most calls share it."""

    def __init__(self, utc_offset_minutes: int) -> None:
        self._zone = timezone(timedelta(minutes=utc_offset_minutes))
        self._second = -1
        self._text = ""

    def iso(self, at: float) -> str:
        second = int(at)
        if second != self._second:
            self._text = datetime.fromtimestamp(second, self._zone).isoformat()
            self._second = second
        return self._text

    def time(self, start: float, finish: float, operating: tuple[float, int | None] | None) -> bytes:
        """`operating`: seconds and when they end; None for the outer call of a batch, which has none."""
        extra = ""
        if operating is not None:
            spent, reset_at = operating
            extra = (
                f',"operating":{spent}' if reset_at is None else f',"operating_reset_at":{reset_at},"operating":{spent}'
            )
        took = max(finish - start, 0.0)
        return (
            f'{{"start":{start:.6f},"finish":{finish:.6f},"duration":{took:.6f},"processing":{took:.6f},'
            f'"date_start":"{self.iso(start)}","date_finish":"{self.iso(finish)}"{extra}}}'
        ).encode()


def success(body: bytes, paging: bytes, time: bytes) -> bytes:
    """`paging`: nothing, or `,"next":50,"total":120` in part or whole."""
    return b'{"result":' + body + paging + b',"time":' + time + b"}"


def paging(next_start: int | None, total: int | None) -> bytes:
    parts = b""
    if next_start is not None:
        parts += b',"next":%d' % next_start
    if total is not None:
        parts += b',"total":%d' % total
    return parts


def failure(error: PortalError) -> bytes:
    return jsontext.dump({"error": error.code, "error_description": error.description})
