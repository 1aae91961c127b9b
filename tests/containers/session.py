"""Kafka, MongoDB and Redis of docker-compose.yml, as containers that live as long as one session of tests.

What compose and the tests run is declared once, in docker-compose.yml: images, settings and commands come from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.errors import APIError, DockerException, ImageNotFound
from pymongo import MongoClient
from testcontainers.community.redis import RedisContainer
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from chatferry.stack import PART_NAMES, Addresses, GivenAddresses, PartName

COMPOSE_FILE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
NOTHING_TO_RUN_ON = 3
_READY_S = 180
_ENGINE_ANSWERS_S = 60
_CLIENTS, _ITSELF, _CONTROLLER = 9092, 9094, 9093
# The address that clients reach Kafka at is known once the container has its port: the broker waits for it.
_ADVERTISED = "/tmp/advertised-listeners"
_KAFKA_COMMAND = (
    f"until [ -s {_ADVERTISED} ]; do sleep 0.1; done; "
    f"export KAFKA_ADVERTISED_LISTENERS=$(cat {_ADVERTISED}); exec /etc/kafka/docker/run"
)

Json = dict[str, Any]


class NoContainersError(Exception):
    """There is no engine, or not an image. Its text is one sentence that says what to do."""


def declared(name: str) -> Json:
    """A service as docker-compose.yml declares it."""
    found: Json = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["services"][name]
    return found


@contextmanager
def session_containers(given: GivenAddresses) -> Iterator[Addresses]:
    """Where the parts answer: those that are given stay whose they are, the others are started, and removed at the end.

    Raises NoContainersError before anything is started.
    """
    wanted = [name for name in PART_NAMES if given.of(name) is None]
    _assure_images([declared(name)["image"] for name in wanted])
    with ExitStack() as started:
        addresses = {
            name: given.of(name) or started.enter_context(_STARTS[name](declared(name))) for name in PART_NAMES
        }
        yield Addresses(**addresses)


def _assure_images(images: list[str]) -> None:
    try:
        # Finds the engine as testcontainers does: environment, context of the docker command, socket.
        engine = DockerClient(timeout=_ENGINE_ANSWERS_S).client
    except DockerException as silent:
        raise NoContainersError(
            f"--stack=docker needs a Docker engine, and none answers ({_first_line(silent)}); "
            "start it, or leave --stack=docker out: the tests then start their servers without Docker"
        ) from silent
    with closing(engine):
        for image in images:
            if (reason := _missing(engine, image)) is not None:
                raise NoContainersError(
                    f"the image {image} is neither here nor to be had ({reason}); "
                    "let the engine reach its registry, or bring it with `docker load`"
                )
        # The reaper removes what a killed session left. Without its image the fixture alone removes.
        if not testcontainers_config.ryuk_disabled and _missing(engine, testcontainers_config.ryuk_image) is not None:
            testcontainers_config.ryuk_disabled = True


def _missing(engine: docker.DockerClient, image: str) -> str | None:
    """Why an image is not to be had; None when it is there, pulled if need be."""
    try:
        engine.images.get(image)
    except ImageNotFound:
        try:
            engine.images.pull(image)
        except (APIError, DockerException) as refused:
            return _first_line(refused)
    return None


def _first_line(error: Exception) -> str:
    explanation = getattr(error, "explanation", None) or str(error)
    return str(explanation).strip().partition("\n")[0]


def _at(container: DockerContainer, port: int) -> str:
    # By number: a name may lead to ::1 first, where not every engine publishes.
    host = container.get_container_host_ip().replace("localhost", "127.0.0.1")
    return f"{host}:{container.get_exposed_port(port)}"


@contextmanager
def _kafka(service: Mapping[str, Any]) -> Iterator[str]:
    """The broker reaches itself under a listener of its own: the clients' address may not lead to it from inside."""
    settings = service["environment"] | {
        "KAFKA_LISTENERS": f"PLAINTEXT://:{_CLIENTS},ITSELF://:{_ITSELF},CONTROLLER://:{_CONTROLLER}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,ITSELF:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "ITSELF",
    }
    del settings["KAFKA_ADVERTISED_LISTENERS"]
    container = DockerContainer(service["image"]).with_exposed_ports(_CLIENTS).with_envs(**settings)
    with container.with_command(["bash", "-c", _KAFKA_COMMAND]):
        address = _at(container, _CLIENTS)
        advertised = f"PLAINTEXT://{address},ITSELF://localhost:{_ITSELF}"
        written = container.exec(["bash", "-c", f"echo {advertised} > {_ADVERTISED}"])
        assert written.exit_code == 0, written.output
        LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(_READY_S).wait_until_ready(container)
        yield address


@contextmanager
def _mongodb(service: Mapping[str, Any]) -> Iterator[str]:
    port = 27017
    container = DockerContainer(service["image"]).with_exposed_ports(port).with_command(service["command"])
    waiting = LogMessageWaitStrategy("Waiting for connections").with_startup_timeout(_READY_S)
    with container.waiting_for(waiting):
        # Direct: the set knows its member by the name that leads to it from inside.
        address = f"mongodb://{_at(container, port)}/?replicaSet=rs0&directConnection=true"
        with MongoClient[Json](address.replace("replicaSet=rs0&", "")) as client:
            members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
            client.admin.command("replSetInitiate", {"_id": "rs0", "version": 1, "members": members})
        primary = LogMessageWaitStrategy("Transition to primary complete").with_startup_timeout(_READY_S)
        primary.wait_until_ready(container)
        yield address


@contextmanager
def _redis(service: Mapping[str, Any]) -> Iterator[str]:
    container = RedisContainer(service["image"]).with_command(service["command"])
    with container:
        yield f"redis://{_at(container, container.port)}/0"


_STARTS: Mapping[PartName, Callable[[Mapping[str, Any]], AbstractContextManager[str]]] = {
    "kafka": _kafka,
    "mongodb": _mongodb,
    "redis": _redis,
}
