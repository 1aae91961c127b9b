"""How MAX's events enter: `POST /max/updates`. Nothing is done here but to pass them on to the topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from chatferry.common.errors import OutageError
from chatferry.participants.admission import Secret, read_body
from chatferry.participants.domain.updates import BrokenUpdateError, read_update
from chatferry.participants.flow.parts import Hearing
from chatferry.participants.ports import Inbox
from chatferry.participants.refusals import RefusedCallError


class Doorkeeper(Protocol):
    """What is told of each event (`metrics.Watching`)."""

    def received(self, outcome: str) -> None:
        """taken, refused, too_large, broken or away."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """MAX takes anything but a 200 within 30 s for a failure, and sends the event again."""

    secret: Secret
    inbox: Inbox
    doorkeeper: Doorkeeper
    bytes_max: int
    hearing: Hearing

    async def __call__(self, request: Request) -> Response:
        """200 once Kafka has it. Raises RefusedCallError (401, 413, 400), OutageError, ClientDisconnect."""
        try:
            self.secret.check(request.headers.get("x-max-bot-api-secret"))
            body = await read_body(request, self.bytes_max)
        except RefusedCallError as refused:
            self.doorkeeper.received("too_large" if refused.status == 413 else "refused")
            raise
        try:
            update = read_update(body)
        except BrokenUpdateError as broken:
            self.doorkeeper.received("broken")
            raise RefusedCallError(400, "BROKEN_UPDATE", f"This is no Update: {broken}.") from None
        try:
            await self.inbox.put(update, body)
        except OutageError:
            self.doorkeeper.received("away")
            raise
        self.hearing.came = True
        self.doorkeeper.received("taken")
        return Response(b"{}", media_type="application/json")
