"""What the platform answers when it refuses, in one table."""

import math
from typing import Final

REFUSALS: Final[dict[str, tuple[int, str]]] = {
    "verify.token": (401, "Invalid access_token"),
    "access.denied": (403, "Access denied"),
    "chat.denied": (403, "Bot is not an administrator of the chat"),
    "not.found": (404, "Chat not found"),
    "method.not.allowed": (405, "Method not allowed"),
    "proto.payload": (400, "Malformed request"),
    "too.many.requests": (429, "Too many requests"),
    "internal.error": (500, "Internal server error"),
    "service.unavailable": (503, "Service unavailable"),
}


class ApiError(Exception):
    """A call is refused with `code`, a key of REFUSALS."""

    def __init__(
        self, code: str, message: str | None = None, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        known_status, known_message = REFUSALS[code]
        self.code = code
        self.message = known_message if message is None else message
        self.status = known_status if status is None else status
        self.retry_after_s = None if retry_after_s is None else max(1, math.ceil(retry_after_s))
        super().__init__(code)
