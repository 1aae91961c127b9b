"""Which project an environment describes, and what is said when a file of it cannot be used."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chatferry.common.errors import ConfigurationError, FatalError
from chatferry.operator.containers import prepare_secrets
from chatferry.operator.folder import Folder, write_atomically
from chatferry.operator.runs import Store


def environment(tmp_path: Path, target: str) -> dict[str, str]:
    (tmp_path / "webhooks").write_text("https://p.test/rest/1/abcsecretdef\n", encoding="utf-8")
    (tmp_path / "target").write_text(f"{target}\n", encoding="utf-8")
    return {
        "CHATFERRY_LOCAL": str(tmp_path / "local"),
        "CHATFERRY_KAFKA": "k:9092",
        "CHATFERRY_MONGODB": "mongodb://ferry:S3cr@t@mongo/?replicaSet=rs",
        "CHATFERRY_REDIS": "redis://redis:6379",
        "CHATFERRY_PORTAL_WEBHOOKS_FILE": str(tmp_path / "webhooks"),
        "CHATFERRY_TARGET_URL_FILE": str(tmp_path / "target"),
    }


def test_a_target_is_known_by_what_stands_before_its_secret(tmp_path: Path) -> None:
    project = Folder.of(environment(tmp_path, "https://me:S3cret@t.test/base/rest/1/abcsecretdef")).load()
    assert project.target_url == "https://t.test/base"


@pytest.mark.parametrize("url", ["http://t:port/rest/1/abcsecretdef", "http://t/abcsecretdef", "abcsecretdef", ""])
def test_a_target_that_cannot_be_asked_is_named_by_its_file_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="CHATFERRY_TARGET_URL_FILE") as wrong:
        Folder.of(environment(tmp_path, url)).load()
    assert "abcsecretdef" not in wrong.value.sentence


def test_a_project_is_named_as_the_services_name_it(tmp_path: Path) -> None:
    wanted = environment(tmp_path, "http://t/rest/1/abcsecretdef")
    assert Folder.of({**wanted, "CHATFERRY_PROJECT": "two-2"}).load().name == "two-2"
    with pytest.raises(ConfigurationError, match="CHATFERRY_PROJECT must be 1 to 32"):
        Folder.of({**wanted, "CHATFERRY_PROJECT": "A b/c"}).load()


async def test_a_database_that_cannot_be_opened_is_named_by_its_variable_and_not_repeated(tmp_path: Path) -> None:
    project = Folder.of(environment(tmp_path, "http://t/rest/1/abcsecretdef")).load()
    with pytest.raises(ConfigurationError, match="CHATFERRY_MONGODB") as wrong:
        Store(project)
    assert "S3cr" not in wrong.value.sentence


def test_no_secret_is_made_for_a_target_that_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--target"):
        prepare_secrets(tmp_path, "http://t:port")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    folder = Folder.of({"CHATFERRY_LOCAL": str(tmp_path / "file" / "local")})
    with pytest.raises(ConfigurationError, match="set CHATFERRY_LOCAL"):
        folder.take("demo")
    with pytest.raises(ConfigurationError, match="set CHATFERRY_LOCAL"):
        folder.secret("portal.webhooks", "x")


@contextmanager
def full_disk() -> Iterator[None]:
    """Files of this process hold 8 bytes at most meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_does_not_fit_on_the_disk_is_one_sentence_and_what_was_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "report" / "chats.json"
    write_atomically(file, "before")
    with full_disk(), pytest.raises(FatalError) as wrong:
        write_atomically(file, "a report that is longer")
    assert wrong.value.sentence == (
        f"{file} cannot be written (File too large): make room on its disk, or mend its rights, and try again"
    )
    assert [(one.name, one.read_text()) for one in file.parent.iterdir()] == [("chats.json", "before")]


def test_a_secret_that_does_not_fit_on_the_disk_is_one_sentence(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(ConfigurationError, match="File too large") as wrong:
        Folder(tmp_path).secret("target.url", "http://t.test/rest/1/abcsecretdef")
    assert "abcsecretdef" not in wrong.value.sentence


def test_a_folder_can_be_taken_on_a_full_disk(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with full_disk(), folder.take("a demo with a long name"), pytest.raises(ConfigurationError, match="runs in"):
        folder.take("a second")
