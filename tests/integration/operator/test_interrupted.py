"""`chatferry demo` and `up` that are ended in the middle, by whatever ends a command: what they started ends too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.integration.whole.running import OFFICE_PROXY

from chatferry.operator.folder import Folder
from chatferry.operator.processes import leftovers

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
_COMMAND = str(Path(sys.executable).parent / "chatferry")
_WITHIN_S = 120.0
_WEBHOOK = "http://127.0.0.1:9/rest/1/0123456789abcdef/"


@pytest.mark.parametrize(
    ("command", "moment", "number"),
    [
        ("demo", "mongodb: ready", signal.SIGTERM),
        ("demo", "kafka: ready", signal.SIGHUP),
        ("demo", "requested", signal.SIGTERM),
        ("demo", "requested", signal.SIGINT),
        ("up", "kafka: ready", signal.SIGHUP),
    ],
)
def test_it_ends_all_that_it_has_started(tmp_path: Path, command: str, moment: str, number: signal.Signals) -> None:
    root, said = tmp_path / "local", tmp_path / "said"
    own = {name: value for name, value in os.environ.items() if not name.startswith("CHATFERRY_")}
    own |= {"CHATFERRY_LOCAL": str(root), "CHATFERRY_PORTAL_WEBHOOKS": _WEBHOOK, "COLUMNS": "200", **OFFICE_PROXY}
    with said.open("w") as out:
        process = subprocess.Popen([_COMMAND, command], env=own, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + _WITHIN_S
        while moment not in said.read_text(encoding="utf-8"):
            assert process.poll() is None, said.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, f"{moment} was not said: {said.read_text(encoding='utf-8')}"
            time.sleep(0.05)
        process.send_signal(number)
        # As GNU timeout does, and a shell that ends: the command, and then all of its group.
        process.send_signal(number if number != signal.SIGINT else 0)
        assert process.wait(_WITHIN_S) not in (0, -number), "it was ended before it could end what it has started"
        assert "Traceback" not in said.read_text(encoding="utf-8")
        assert leftovers(Folder(root)) == []
        assert _naming(root) == []
    finally:
        process.kill()
        process.wait()
        subprocess.run([_COMMAND, "down"], env=own, capture_output=True, timeout=_WITHIN_S)


def _naming(root: Path) -> list[list[str]]:
    """Command lines of what runs on there."""
    words = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in words if any(str(root) in word for word in line)]
