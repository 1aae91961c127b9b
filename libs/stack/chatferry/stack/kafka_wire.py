"""The two Kafka requests that tell whether a broker works, over a plain socket: no event loop, no client to warm up.

Shapes: Kafka protocol guide, Metadata v1 and FindCoordinator v0 (request header v1).
"""

import socket
import struct

from chatferry.stack.errors import UnhealthyError

_ANSWER_S = 2
_CLIENT = b"chatferry"
_LARGEST_ANSWER = 1 << 20
_METADATA, _FIND_COORDINATOR = 3, 10


def count_brokers(server: str) -> int:
    """How many brokers are registered, as the server `host:port` knows it. Raises UnhealthyError."""
    answer = _ask(server, struct.pack(">hhih", _METADATA, 1, 1, len(_CLIENT)) + _CLIENT + struct.pack(">i", 0))
    return int(_unpack(">i", answer))


def group_coordinator_error(server: str, group: str) -> int:
    """Kafka's error code for "who coordinates this group", 0 when somebody does. Raises UnhealthyError.

    The first such request lets Kafka create its offsets topic.
    """
    name = group.encode()
    request = struct.pack(">hhih", _FIND_COORDINATOR, 0, 1, len(_CLIENT)) + _CLIENT
    return int(_unpack(">h", _ask(server, request + struct.pack(">h", len(name)) + name)))


def _ask(server: str, request: bytes) -> bytes:
    """The body of the answer."""
    host, port = server.rsplit(":", 1)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answers:
                size, correlation = struct.unpack(">ii", answers.read(8))
                if correlation != 1 or not 4 <= size <= _LARGEST_ANSWER:
                    raise UnhealthyError("what answers there is not Kafka")
                return answers.read(size - 4)
    except OSError as error:
        raise UnhealthyError(f"a request failed with {error.__class__.__name__}: {error}") from error
    except struct.error as error:
        raise UnhealthyError("the connection was closed without an answer") from error


def _unpack(shape: str, answer: bytes) -> int:
    """The first number of an answer."""
    try:
        value: int = struct.unpack_from(shape, answer)[0]
    except struct.error as error:
        raise UnhealthyError("the answer was cut short") from error
    return value
