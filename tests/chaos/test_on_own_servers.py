"""In its short form, every disturbance that ends Kafka, MongoDB or Redis, or looks into their files."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.suite import OWN_STACK, short

pytestmark = [
    pytest.mark.integration,
    pytest.mark.chaos,
    pytest.mark.timeout(280),
    # The supervisor outlives the call that starts it; it is ended by its pid.
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]


@pytest.mark.parametrize("name", sorted(OWN_STACK))
def test_nothing_is_lost_or_doubled_by(name: str, tmp_path: Path) -> None:
    short(name, tmp_path)
