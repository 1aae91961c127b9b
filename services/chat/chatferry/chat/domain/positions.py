"""Where a list goes on: an opaque mark that only this target can write."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass

from chatferry.chat.domain.items import SourceId

_SEAL_BYTES = 10
_POSITION = struct.Struct(">q")
_LONGEST_MARK = 64


class ForeignMarkError(ValueError):
    """Not a mark of this list: cut, changed, or of another entity or parent."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Writes and reads marks. `secret` is any lasting secret of the target: marks live as long as it does."""

    secret: bytes

    def write(self, listing: str, last: SourceId) -> str:
        """The mark after a record. `listing` names entity and parent."""
        position = _POSITION.pack(last)
        return base64.urlsafe_b64encode(position + self._seal(listing, position)).decode().rstrip("=")

    def read(self, listing: str, mark: str) -> SourceId:
        """Where the list goes on. Raises ForeignMarkError."""
        if len(mark) > _LONGEST_MARK or not mark.isascii():
            raise ForeignMarkError
        try:
            raw = base64.b64decode(mark + "=" * (-len(mark) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raise ForeignMarkError from None
        position, seal = raw[: _POSITION.size], raw[_POSITION.size :]
        if len(position) != _POSITION.size or not hmac.compare_digest(seal, self._seal(listing, position)):
            raise ForeignMarkError
        return SourceId(_POSITION.unpack(position)[0])

    def _seal(self, listing: str, position: bytes) -> bytes:
        return hmac.digest(self.secret, listing.encode() + b"\0" + position, hashlib.sha256)[:_SEAL_BYTES]
