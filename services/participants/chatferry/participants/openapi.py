"""`python -m chatferry.participants.openapi` prints docs/participants-openapi.json."""

from __future__ import annotations

import sys

import orjson

from chatferry.participants.api import openapi_document


def rendered() -> bytes:
    """The document as it is checked in."""
    return orjson.dumps(openapi_document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    sys.stdout.buffer.write(rendered())
