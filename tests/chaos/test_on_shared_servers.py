"""In its short form, every disturbance that leaves Kafka, MongoDB and Redis alone. The long forms: `make chaos`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.suite import OWN_STACK, SUITE, short

from chatferry.stack import Addresses
from chatferry.stack.addresses import PART_NAMES, VARIABLES

pytestmark = [
    pytest.mark.integration,
    pytest.mark.chaos,
    pytest.mark.timeout(280),
    # The supervisor outlives the call that starts it; it is ended by its pid.
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]


@pytest.mark.parametrize("name", [name for name in SUITE if name not in OWN_STACK])
def test_nothing_is_lost_or_doubled_by(
    name: str, tmp_path: Path, stack: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in PART_NAMES:
        monkeypatch.setenv(VARIABLES[part], getattr(stack, part))
    short(name, tmp_path)
