"""Three replicas of the participants service, of which one is killed every now and then: what MAX saw of it.

`python -m tests.bench.participants_replicas [--chats N] [--seconds N] [--kills N]`: `chatferry demo participants` with
SIGKILLs, one replica after the other; each is started again. Judged by the platform's own truth and count of calls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import typer

from chatferry.operator.folder import Folder, read_json
from chatferry.operator.processes import stop

LOCAL = Path(__file__).resolve().parents[2] / ".local" / "bench" / "replicas"
_REPLICAS, _STARTS_S, _LOOK_S = 3, 120.0, 0.2
_CALLS_IN_A_SECOND = 30


def killed(chats: int, seconds: int, kills: int) -> dict[str, Any]:
    """The demo's verdict. Raises AssertionError when it gives none."""
    LOCAL.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).parent / "chatferry"), "demo", "participants", "--json"]
    command += ["--chats", str(chats), "--seconds", str(seconds), "--replicas", str(_REPLICAS)]
    said = LOCAL / "said"
    with said.open("w") as words:
        environment = {**os.environ, "CHATFERRY_LOCAL": str(LOCAL)}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=words, text=True)
    try:
        deadline = time.monotonic() + _STARTS_S
        while "changing:" not in said.read_text(encoding="utf-8"):
            assert process.poll() is None, said.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, f"it does not begin within {_STARTS_S:.0f} s"
            time.sleep(_LOOK_S)
        for number in range(kills):
            time.sleep(seconds / (kills + 1))
            _kill(f"participants-{1 + number % _REPLICAS}")
        told, _ = process.communicate()
        assert told, said.read_text(encoding="utf-8")
        verdict: dict[str, Any] = json.loads(told)
        return verdict
    finally:
        process.kill()
        process.wait()
        stop(Folder(LOCAL))


def _kill(name: str) -> None:
    running = read_json(Folder(LOCAL).processes)["processes"]
    psutil.Process(next(one["pid"] for one in running if one["name"] == name)).kill()


def main(chats: int = 600, seconds: int = 180, kills: int = 3) -> None:
    """Measure and print; exit code 1 when a floor is missed."""
    verdict = killed(chats, seconds, kills)
    print(json.dumps(verdict, indent=1))
    met = (
        verdict["exact_after_quiet"]
        and verdict["duplicate_reads"] == 0
        and verdict["max_calls_in_any_second"] <= _CALLS_IN_A_SECOND
    )
    print(
        f"{kills} kills: at most {verdict['max_calls_in_any_second']} calls in any second,"
        f" {verdict['duplicate_reads']} reads of a chat beside another of it,"
        f" exact after quiet: {verdict['exact_after_quiet']}: {'met' if met else 'missed'}"
    )
    if not met:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
