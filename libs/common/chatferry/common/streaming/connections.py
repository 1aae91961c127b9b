"""aiokafka on uvloop: a connection that has just died is broken, whatever the loop calls it."""

from __future__ import annotations

from functools import wraps
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError


def mend_connections() -> None:
    """For a process that runs uvloop. Repeating it is free.

    uvloop raises RuntimeError where asyncio raises OSError, for a write to a transport that died in this turn of the
    loop. aiokafka expects OSError alone (its issue 1038): the task that refreshes its metadata, or reads, or asks for
    the group ends with it, nobody starts it again, and the client waits for ever.
    """
    send = AIOKafkaConnection.send
    if hasattr(send, "__wrapped__"):
        return

    @wraps(send)
    def send_or_break(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
        try:
            return send(self, request, expect_response)
        except RuntimeError as died:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken") from died

    AIOKafkaConnection.send = send_or_break
