"""What can be wrong with the target's answers."""

from __future__ import annotations

from chatferry.common.errors import PermanentError


class ReadBackError(PermanentError):
    """The target answers, but with nothing that can be compared. The sentence holds no content."""

    def __init__(self, sentence: str) -> None:
        super().__init__("target.read_back", sentence)
