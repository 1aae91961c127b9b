"""The one error of this package. `str(error)` is for a person: what is wrong, where, and what to do."""


class StackError(Exception):
    """A part cannot be had, does not start, does not answer, or the stack's folder cannot be used."""


class GivenUpError(StackError):
    """A part's start was broken off since another part failed or the caller was interrupted."""


class EndedError(StackError):
    """A part's process ended while it was waited for."""


class UnhealthyError(Exception):
    """A part does not answer as it should just now; says why, and never reaches a caller of this package."""


class ProgramError(Exception):
    """A program on this machine cannot be used; says which and why."""


def cannot_be_had(title: str, why: str, *, install: str, variable: str, example: str) -> StackError:
    """The sentence for a part that this machine cannot run, with the three ways out."""
    return StackError(
        f"{title} cannot be had on this machine: {why}. Ways out: {install}; or start it with Docker "
        f"(docker compose up); or give its address in the environment ({variable}={example})."
    )
