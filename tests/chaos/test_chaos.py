"""Every disturbance in its short form, on a project of its own. The long forms: `make chaos`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.chaos.suite import OWN_STACK, SUITE

from chatferry.stack import Addresses
from chatferry.stack.addresses import PART_NAMES, VARIABLES

pytestmark = [
    pytest.mark.integration,
    pytest.mark.chaos,
    pytest.mark.timeout(280),
    # The supervisor outlives the call that starts it; it is ended by its pid.
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
]
_SEED = 7


@pytest.mark.parametrize("name", sorted(OWN_STACK))
def test_nothing_is_lost_or_doubled_on_servers_of_its_own_by(name: str, tmp_path: Path) -> None:
    _disturb(name, tmp_path)


@pytest.mark.parametrize("name", [name for name in SUITE if name not in OWN_STACK])
def test_nothing_is_lost_or_doubled_by(
    name: str, tmp_path: Path, stack: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in PART_NAMES:
        monkeypatch.setenv(VARIABLES[part], getattr(stack, part))
    _disturb(name, tmp_path)


def _disturb(name: str, tmp_path: Path) -> None:
    passed = SUITE[name](tmp_path, _SEED, False)
    sys.stdout.write(f"{passed.line()}\n")
