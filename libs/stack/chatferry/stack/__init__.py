"""A local Kafka, MongoDB and Redis from Python packages, as child processes.

    stack = LocalStack(Path(".local"), announce=print)
    addresses = stack.up()    # fetches Kafka's jars the first time; safe to repeat
    stack.status()
    stack.down()              # data stay for the next `up`

For development, demonstrations and tests; nothing here belongs into production.
"""

from chatferry.stack.addresses import (
    PART_NAMES,
    Addresses,
    GivenAddresses,
    PartName,
    addresses_from_environment,
    without_secret,
)
from chatferry.stack.errors import StackError
from chatferry.stack.local import LocalStack, PartStatus

__all__ = [
    "PART_NAMES",
    "Addresses",
    "GivenAddresses",
    "LocalStack",
    "PartName",
    "PartStatus",
    "StackError",
    "addresses_from_environment",
    "without_secret",
]
