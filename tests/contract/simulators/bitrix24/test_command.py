"""The portal as a process: one line when ready, secrets in files, an end when asked to."""

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

COMMAND = (sys.executable, "-m", "chatferry.simulators.bitrix24", "serve")


def refused(*options: str) -> str:
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    return done.stderr.strip()


def call(url_file: str, method: str) -> Any:
    with urllib.request.urlopen(f"{Path(url_file).read_text(encoding='utf-8')}/{method}", timeout=10) as answer:
        return json.load(answer)["result"]


def test_a_portal_is_served_until_sigterm_and_the_same_options_serve_it_again(tmp_path: Path) -> None:
    answers = []
    for _ in range(2):
        options = (
            "--seed",
            "3",
            "--messages",
            "300",
            "--webhook",
            "1",
            "--secret",
            "s3cret",
            "--state-dir",
            str(tmp_path),
        )
        with subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                ready = json.loads(line)
                assert "s3cret" not in line
                assert set(ready) == {"http", "https", "ca_file", "control", "webhooks"}
                url_file = ready["webhooks"][0]["url_file"]
                assert Path(url_file).stat().st_mode & 0o777 == 0o600
                assert Path(ready["ca_file"]).is_file()
                answers.append(call(url_file, "im.dialog.messages.get?DIALOG_ID=chat11"))
            finally:
                process.terminate()
            assert process.wait(10) == 0
            assert process.stdout.read() == ""
    assert answers[0] == answers[1]
    assert answers[0]["messages"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "say which portal: either --data DIR or --seed N"),
        (("--data", "/nowhere"), "/nowhere is not a folder: give one with users.jsonl, chats.jsonl and messages.jsonl"),
        (("--seed", "1", "--bucket", "wide"), "--bucket: 'wide' is not a number; see --help for the form"),
        (("--seed", "1", "--speed", "0"), "--speed must be above zero, not 0"),
        (
            ("--seed", "1", "--odd", "x=1"),
            "--odd: 'x' is no kind of odd messages; kinds: lone_surrogates, "
            "control_characters, long_texts, dates_without_offset, impossible_dates, missing_ids, missing_authors",
        ),
        (("--seed", "1", "--webhook", "2"), "no webhook for user 2: the portal has no such user"),
    ],
)
def test_wrong_options_end_with_one_sentence(options: tuple[str, ...], sentence: str) -> None:
    assert refused(*options) == sentence


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = refused("--seed", "1", "--port", str(port))
    assert str(port) in sentence
    assert "\n" not in sentence
