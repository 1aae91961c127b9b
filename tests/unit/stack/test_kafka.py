import re
from pathlib import Path

import pytest

from chatferry.stack.kafka import cluster_id, properties
from chatferry.stack.kafka_jars import ENDPOINT, locked_jars


def test_every_locked_jar_has_a_sha256_and_a_path_of_its_own() -> None:
    jars = locked_jars()
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert len({jar.path for jar in jars}) == len(jars)


def test_the_lock_holds_the_kafka_that_is_asked_for() -> None:
    locked = {f"{jar.group}:{jar.artifact}:{jar.version}" for jar in locked_jars()}
    assert set(ENDPOINT.split("+")) <= locked


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("127.0.0.1:1", "k=127.0.0.1:1\n"),
        ("C:\\x", "k=C:\\\\x\n"),
        ("/tmp/чат", "k=/tmp/\\u0447\\u0430\\u0442\n"),
        ("😀", "k=\\ud83d\\ude00\n"),
        ("a\nb", "k=a\\u000ab\n"),
    ],
)
def test_a_properties_file_is_pure_ascii(value: str, line: str) -> None:
    assert properties({"k": value}) == line


def test_the_id_of_a_cluster_is_no_option_of_the_program_that_is_given_it() -> None:
    ids = {cluster_id(Path(f"/somewhere/{number}")) for number in range(500)}
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", one) for one in ids)
    assert len(ids) == 500
