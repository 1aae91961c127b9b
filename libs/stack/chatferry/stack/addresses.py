"""Where the three parts answer, and which of them somebody else runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from chatferry.stack.errors import StackError

PartName = Literal["kafka", "mongodb", "redis"]
PART_NAMES: tuple[PartName, ...] = ("kafka", "mongodb", "redis")
VARIABLES: Mapping[PartName, str] = {
    "kafka": "CHATFERRY_KAFKA",
    "mongodb": "CHATFERRY_MONGODB",
    "redis": "CHATFERRY_REDIS",
}
EXAMPLES: Mapping[PartName, str] = {
    "kafka": "127.0.0.1:9092",
    "mongodb": "mongodb://127.0.0.1:27017/?replicaSet=rs0",
    "redis": "redis://127.0.0.1:6379/0",
}
_SHAPES: Mapping[PartName, re.Pattern[str]] = {
    "kafka": re.compile(r"[^\s,/@]+:\d+(,[^\s,/@]+:\d+)*"),
    "mongodb": re.compile(r"mongodb(\+srv)?://\S+"),
    "redis": re.compile(r"(rediss?|unix)://\S+"),
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """`kafka` is a bootstrap list (`host:port,…`), `mongodb` and `redis` are URLs; they may hold passwords."""

    kafka: str
    mongodb: str
    redis: str


@dataclass(frozen=True, slots=True)
class GivenAddresses:
    """What the environment names; a part that is None is run by the local stack."""

    kafka: str | None = None
    mongodb: str | None = None
    redis: str | None = None

    def of(self, part: PartName) -> str | None:
        return {"kafka": self.kafka, "mongodb": self.mongodb, "redis": self.redis}[part]


def addresses_from_environment(env: Mapping[str, str]) -> GivenAddresses:
    """Read CHATFERRY_KAFKA, CHATFERRY_MONGODB and CHATFERRY_REDIS; each stands for itself, an empty one is not given.

    Raises StackError when one has not the shape of an address (its value is not repeated: it may hold a password).
    """
    return GivenAddresses(**{part: _given(part, env.get(VARIABLES[part], "").strip()) for part in PART_NAMES})


def without_secret(address: str) -> str:
    """The address without user name and passwords, fit for a log: rather too little of it than too much."""
    return re.sub(r"(?i)([?&]\w*password=)[^&]*", r"\1…", re.sub(r"//.*@", "//", address))


def _given(part: PartName, value: str) -> str | None:
    if not value:
        return None
    if not _SHAPES[part].fullmatch(value):
        raise StackError(
            f"{VARIABLES[part]} in the environment is not an address of {part}: "
            f"write it like {EXAMPLES[part]}, or unset it to let the local stack run {part}."
        )
    return value
