"""Whether the target can serve, from what was last seen of its database."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Watch:
    """`prepared` is set once the indexes are there; `wrong` says what was seen last, None when all is well."""

    prepared: bool = False
    wrong: str | None = "MongoDB was not reached yet"

    def seen(self, wrong: str | None) -> None:
        """Note a look at the database."""
        self.wrong = wrong

    def ready(self) -> str | None:
        """The check of /readyz, and of the metric `outage`."""
        return self.wrong
