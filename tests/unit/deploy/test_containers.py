"""What bootstrap does in a container beside topics and indexes: secrets, patience, the replica set's name."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chatferry.common.adapters.replica_set import ensure_replica_set
from chatferry.common.errors import ConfigurationError, OutageError
from chatferry.operator.containers import keep_webhooks, patiently, prepare_secrets
from chatferry.operator.folder import Folder

WEBHOOK = "https://firm.example/rest/7/abcdefgh"


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


async def test_a_part_that_comes_up_late_is_waited_for() -> None:
    clock, tries = FakeClock(), 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        if clock.seconds < 3:
            raise OutageError("kafka", "Kafka is away")

    await patiently(work, 10, clock)
    assert tries == 7


async def test_a_part_that_stays_away_ends_the_wait_with_its_own_sentence() -> None:
    async def work() -> None:
        raise OutageError("kafka", "Kafka is away")

    clock = FakeClock()
    with pytest.raises(OutageError, match="Kafka is away"):
        await patiently(work, 10, clock)
    assert clock.seconds == pytest.approx(10, abs=1)


async def test_a_wrong_setting_is_not_waited_for() -> None:
    async def work() -> None:
        raise ConfigurationError("wrong")

    clock = FakeClock()
    with pytest.raises(ConfigurationError):
        await patiently(work, 10, clock)
    assert clock.seconds == 0


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    keep_webhooks(tmp_path, WEBHOOK)
    prepare_secrets(tmp_path, "http://chat:8080/")
    names = ("target.secret", "max.secret", "participants.keys")
    made = {name: (tmp_path / name).read_text().strip() for name in names}
    prepare_secrets(tmp_path, "http://chat:8080/")
    assert {name: (tmp_path / name).read_text().strip() for name in made} == made
    assert len(set(made.values())) == len(made)
    assert (tmp_path / "target.url").read_text() == f"http://chat:8080/rest/1/{made['target.secret']}\n"
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


def test_a_secret_that_a_kill_left_empty_is_made_anew(tmp_path: Path) -> None:
    keep_webhooks(tmp_path, WEBHOOK)
    (tmp_path / "max.secret").touch()
    prepare_secrets(tmp_path, "http://chat:8080")
    assert len((tmp_path / "max.secret").read_text().strip()) > 5


def test_a_simulated_portals_webhooks_become_the_projects(tmp_path: Path) -> None:
    (tmp_path / "portal").mkdir()
    (tmp_path / "portal" / "webhook-120.url").write_text("http://portal:8080/rest/120/abcdefgh")
    prepare_secrets(tmp_path, "http://chat:8080")
    assert (tmp_path / "webhooks").read_text() == "http://portal:8080/rest/120/abcdefgh\n"


def test_without_a_portal_bootstrap_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="docker compose run"):
        prepare_secrets(tmp_path, "http://chat:8080")


def test_a_line_that_is_no_webhook_leaves_the_kept_ones_alone(tmp_path: Path) -> None:
    keep_webhooks(tmp_path, WEBHOOK)
    with pytest.raises(ConfigurationError, match="webhook 1 is not of the form"):
        keep_webhooks(tmp_path, "nonsense")
    assert (tmp_path / "webhooks").read_text() == WEBHOOK + "\n"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mongodb://mongodb:27017/", "names no replica set"),
        ("http://mongodb", "is no URL of MongoDB"),
        ("mongodb://me:hidden@mongodb/?replicaSet=rs0", "administrator's to initiate"),
    ],
)
async def test_a_url_that_cannot_be_initiated_is_refused_without_being_quoted(url: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        await ensure_replica_set(url)
    assert "hidden" not in str(refused.value)


def environment(folder: Path) -> dict[str, str]:
    keep_webhooks(folder, WEBHOOK)
    prepare_secrets(folder, "http://chat:8080")
    return {
        "CHATFERRY_LOCAL": str(folder / "local"),
        "CHATFERRY_PROJECT": "firm",
        "CHATFERRY_KAFKA": "kafka:9092",
        "CHATFERRY_MONGODB": "mongodb://mongodb/?replicaSet=rs0",
        "CHATFERRY_REDIS": "redis://redis:6379/0",
        "CHATFERRY_PORTAL_WEBHOOKS_FILE": str(folder / "webhooks"),
        "CHATFERRY_TARGET_URL_FILE": str(folder / "target.url"),
        "CHATFERRY_SERVICE_URLS": "chat=http://chat:8080 importer=http://importer:8080",
    }


def test_the_command_finds_a_project_that_its_environment_describes(tmp_path: Path) -> None:
    project = Folder.of(environment(tmp_path)).load()
    assert (project.name, project.database, project.portal_host) == ("firm", "chatferry_firm", "firm.example")
    assert (project.portal_url, project.target_url) == ("https://firm.example", "http://chat:8080")
    secret = (tmp_path / "target.secret").read_text().strip()
    assert secret not in repr(project)
    assert "abcdefgh" not in repr(project)


def test_half_a_description_is_no_project_and_the_sentence_names_what_it_takes(tmp_path: Path) -> None:
    env = environment(tmp_path)
    del env["CHATFERRY_REDIS"]
    with pytest.raises(ConfigurationError, match=r"no project was started.*CHATFERRY_REDIS"):
        Folder.of(env).load()


def test_a_service_is_asked_where_it_said_it_listens_and_else_where_the_environment_says(tmp_path: Path) -> None:
    folder = Folder.of(environment(tmp_path))
    (folder.addresses / "importer.url").write_text("http://127.0.0.1:4711\n")
    assert folder.service_url("importer") == "http://127.0.0.1:4711"
    assert folder.service_url("chat") == "http://chat:8080"
    assert folder.service_url("verifier") is None
