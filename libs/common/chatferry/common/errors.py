"""The one error tree.

ChatferryError
├── TransientError        try again later: the part is away, the data is fine
│   ├── OutageError       a part cannot be reached or refuses everybody; carries the part's name
│   └── LeaseLostError    another process drives now; this one stops writing at once
├── PermanentError        trying again changes nothing; one record or one chat ends with a reason
│   └── RejectError       a source record that cannot become a canonical one
└── FatalError            this process or run cannot go on until a person acts
    ├── ConfigurationError
    ├── StoppedError      an operator ended the run; the next one goes on where it stood
    └── BlockedError      a prerequisite is missing; nothing was started
"""

from __future__ import annotations


class ChatferryError(Exception):
    """Every error of ours. `code` is a stable dotted name; the text is one sentence without secrets or records."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class TransientError(ChatferryError):
    """Safe to try again later."""


class OutageError(TransientError):
    """A part of the system is away. No record may be blamed for it."""

    def __init__(self, part: str, sentence: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"outage.{part}", sentence)
        self.part = part
        self.retry_after_s = retry_after_s


class LeaseLostError(TransientError):
    """The lease has another owner or a newer epoch."""

    def __init__(self, sentence: str) -> None:
        super().__init__("lease.lost", sentence)


class PermanentError(ChatferryError):
    """Trying again changes nothing."""


class RejectError(PermanentError):
    """A source record that cannot become a canonical one; it ends as a dead letter with its raw form."""


class FatalError(ChatferryError):
    """A person has to act."""


class ConfigurationError(FatalError):
    """A setting is missing or wrong."""

    def __init__(self, sentence: str) -> None:
        super().__init__("configuration", sentence)


class StoppedError(FatalError):
    """An operator ended the run: nothing more is begun, and what is under way is finished first."""

    def __init__(self) -> None:
        super().__init__("run.stopped", "stopped by the operator")


class BlockedError(FatalError):
    """A prerequisite is missing; the sentence says which and what to do."""

    def __init__(self, sentence: str, *, code: str = "blocked") -> None:
        super().__init__(code, sentence)
