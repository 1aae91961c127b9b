"""Every disturbance in its short form, on a project of its own. The long forms: `make chaos`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.chaos.suite import SUITE

pytestmark = [
    pytest.mark.integration,
    pytest.mark.chaos,
    pytest.mark.timeout(280),
    # The supervisor outlives the call that starts it; it is ended by its pid.
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]
_SEED = 7


@pytest.mark.parametrize("name", SUITE)
def test_nothing_is_lost_or_doubled_by(name: str, tmp_path: Path) -> None:
    passed = SUITE[name](tmp_path, _SEED, False)
    sys.stdout.write(f"{passed.line()}\n")
