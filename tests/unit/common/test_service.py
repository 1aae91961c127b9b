"""What a service says of itself while a part is away."""

from __future__ import annotations

import inspect

from chatferry.common import service
from chatferry.common.adapters.mongo import open_client


def test_a_part_counts_as_back_only_after_longer_than_it_takes_to_find_out_that_it_is_away() -> None:
    looks_for_ms = inspect.signature(open_client).parameters["timeout_ms"].default
    assert looks_for_ms / 1000 + 1 < service._CALM_S
