"""What the portal is asked through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from chatferry.common.entities.reading import Answer, Command


class Portal(Protocol):
    """The portal behind its bucket (common.portal.client)."""

    async def batch(self, webhook: int, commands: Sequence[Command]) -> list[Answer]:
        """One request; one answer a command. BlockedError, OutageError."""

    async def call(self, webhook: int, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        """One call outside a batch. BlockedError, OutageError."""
