"""Which project an environment describes, and what is said when a file of it cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatferry.common.errors import ConfigurationError
from chatferry.operator.containers import prepare_secrets
from chatferry.operator.folder import Folder
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
