"""The platform as a process: one line when ready, the token in a file, an end when asked to."""

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

COMMAND = (sys.executable, "-m", "chatferry.simulators.max")


def refused(*options: str) -> str:
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    return done.stderr.strip()


def ask(url: str, token: str = "") -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": token}), timeout=10) as answer:
        return json.load(answer)


def test_a_platform_is_served_until_sigterm_and_the_same_options_serve_it_again(tmp_path: Path) -> None:
    token_file, answers, tokens = tmp_path / "token", [], []
    options = ("--seed", "7", "--chats", "30", "--paused", "--token-file", str(token_file), "--set", "api.latency_s=0")
    for _ in range(2):
        with subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                ready = json.loads(line)
                assert set(ready) == {"http", "control", "token_file"}
                assert token_file.stat().st_mode & 0o777 == 0o600
                tokens.append(token_file.read_text(encoding="utf-8"))
                assert tokens[0] not in line
                counts = ask(f"{ready['control']}/truth/counts")["counts"]
                chat = next(iter(counts))
                assert ask(f"{ready['http']}/chats/{chat}", tokens[0])["participants_count"] == counts[chat]
                answers.append(counts)
                assert ask(f"{ready['control']}/truth")["script"]["running"] is False
            finally:
                process.terminate()
            assert process.wait(10) == 0
            assert process.stdout.read() == ""
    assert answers[0] == answers[1]
    assert tokens[0] == tokens[1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--chats", "-1"), "a platform has no fewer than 0 chats"),
        (("--speed", "0"), "speed: Input should be greater than 0"),
        (("--changes-per-minute", "-1"), "script.changes_per_minute: Input should be greater than or equal to 0"),
        (("--set", "delivery.drop"), "--set: 'delivery.drop' is not SETTING=VALUE"),
        (("--token-file", "/proc/none/token"), "/proc/none: No such file or directory"),
    ],
)
def test_wrong_options_end_with_one_sentence(options: tuple[str, ...], sentence: str) -> None:
    said = refused(*options)
    assert said.startswith(sentence)
    assert "\n" not in said


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = refused("--chats", "5", "--port", str(port))
    assert str(port) in sentence
    assert "\n" not in sentence
