"""The compose stack under test: a project of its own, watched from outside, killed and paused part by part."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from tests.containers.session import COMPOSE_FILE, Json, declared

from chatferry.stack.process import free_port

ROOT = COMPOSE_FILE.parent
PROJECT = os.environ.get("CHATFERRY_DOCKER_PROJECT", "chatferry-kills")
_DATABASE, _TARGET = "chatferry_demo", "chatferry_chat_demo"
_PORTAL_CONTROL = 8081
_LOOK_S, _COMMAND_S, _UP_S = 0.2, 300.0, 420.0
# Small requests and few chats at once, so that a run of few messages lasts; leases that end soon after a kill.
_SLOW = {
    "CHATFERRY_BATCH_COMMANDS": "6",
    "CHATFERRY_PAGE_SIZE": "20",
    "CHATFERRY_OPEN_WALKS": "6",
    "CHATFERRY_LEASE_SECONDS": "4",
}
_PORTAL = {"CHATFERRY_DEMO_CHATS": "50", "CHATFERRY_DEMO_MESSAGES": "4000", "CHATFERRY_DEMO_USERS": "20"}


def _override(mongodb_port: int) -> Json:
    """What differs from docker-compose.yml: the pace, and two ways to look in from outside."""
    control = f"--control-port={_PORTAL_CONTROL}"
    return {
        "services": {
            "extractor": {"environment": _SLOW},
            "verifier": {"environment": {"CHATFERRY_VERIFY_LEASE_SECONDS": "4"}},
            "mongodb": {"ports": [f"127.0.0.1:{mongodb_port}:27017"]},
            "portal": {"command": [*declared("portal")["command"], control]},
        }
    }


@dataclass(slots=True)
class ComposeStack:
    """A running compose project. `environment`: of every docker command; `mongo`: the project's MongoDB."""

    environment: Mapping[str, str] = field(repr=False)  # the session's own, which may hold secrets
    mongo: MongoClient[Json]

    @property
    def database(self) -> Any:
        """The project's database."""
        return self.mongo[_DATABASE]

    def docker(self, *arguments: str, seconds: float = _COMMAND_S) -> str:
        """What a docker command says; it must succeed."""
        ended = subprocess.run(
            ["docker", *arguments], env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=seconds
        )
        assert ended.returncode == 0, f"docker {' '.join(arguments)}: {ended.stdout[-2000:]}{ended.stderr[-2000:]}"
        return ended.stdout

    def operator(self, *arguments: str) -> subprocess.Popen[str]:
        """The command in a container of its own, not waited for."""
        command = ["docker", "compose", "run", "--rm", "--no-deps", "--no-TTY", "operator", *arguments]
        return subprocess.Popen(
            command, env=self.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def container(self, service: str) -> str:
        """The id of a service's container, dead or alive."""
        return self.docker("compose", "ps", "--all", "--quiet", service).strip()

    def state(self, service: str) -> Json:
        """What the engine knows of it now: `Status`, `Health`, `StartedAt`."""
        found: Json = json.loads(self.docker("inspect", "--format", "{{json .State}}", self.container(service)))
        return found

    def is_healthy(self, service: str) -> bool:
        state = self.state(service)
        return bool(state["Status"] == "running" and state["Health"]["Status"] == "healthy")

    def seen(self, look: Callable[[], Any], otherwise: Any) -> Any:
        """What a look at MongoDB finds, or `otherwise` while it is away."""
        try:
            return look()
        except PyMongoError:
            return otherwise

    def marks(self) -> tuple[int, int]:
        """Pages read and messages at the target, counted one by one; -1 where MongoDB cannot be seen."""
        pages, messages = self.database.page_log, self.mongo[_TARGET].messages
        return (
            int(self.seen(lambda: pages.count_documents({}, hint="_id_"), -1)),
            int(self.seen(lambda: messages.count_documents({}, hint="_id_"), -1)),
        )

    def until(self, condition: Callable[[], object], what: str, seconds: float) -> float:
        """Poll until it is true; the seconds that took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < seconds, f"not within {seconds:.0f} s: {what}\n{self.story()}"
            time.sleep(_LOOK_S)
        return time.monotonic() - began

    def story(self) -> str:
        """For a failure: runs, containers, the last of what each said."""
        runs = self.seen(lambda: list(self.database.runs.find({}, {"preflight": 0})), "not to be seen")
        containers = self.docker("compose", "ps", "--all", "--format", "{{.Service}} {{.Status}}")
        return f"runs: {runs}\n{containers}{self.docker('compose', 'logs', '--no-color', '--tail', '12')}"

    def check_ledger(self) -> None:
        """Recomputed by a program that shares no code with us, portal included, inside the project's network."""
        script = (
            "chatferry status --json > /tmp/status && python /tools/check_ledger.py --status /tmp/status"
            f" --portal-control http://portal:{_PORTAL_CONTROL}/control"
        )
        options = ("--rm", "--no-deps", "--no-TTY", "--volume", f"{ROOT / 'tools'}:/tools:ro", "--entrypoint", "sh")
        self.docker("compose", "run", *options, "operator", "-c", script)


@contextmanager
def compose_stack(folder: Path, more: Mapping[str, str] = MappingProxyType({})) -> Iterator[ComposeStack]:
    """Everything built, started and ready; removed with its data afterwards. `folder`: for the override's file; `more`:
    of the environment."""
    port = free_port()
    override = folder / "override.yml"
    override.write_text(yaml.safe_dump(_override(port)), encoding="utf-8")
    environment = {
        **os.environ,
        **_PORTAL,
        "COMPOSE_PROJECT_NAME": PROJECT,
        "COMPOSE_FILE": os.pathsep.join([str(COMPOSE_FILE), str(override)]),
        "COMPOSE_PROFILES": "demo",
        "COMPOSE_PROGRESS": "quiet",
        **more,
    }
    with MongoClient[Json](
        f"mongodb://127.0.0.1:{port}/?directConnection=true&readConcernLevel=majority",
        serverSelectionTimeoutMS=2_000,
        socketTimeoutMS=4_000,
    ) as mongo:
        stack = ComposeStack(environment, mongo)
        _remove(stack)
        try:
            stack.docker("compose", "build", seconds=3_000)
            services = _services(stack)
            stack.docker("compose", "up", "--detach", "--no-build", "--wait", *services, seconds=_UP_S)
            yield stack
        finally:
            _remove(stack)


def _remove(stack: ComposeStack) -> None:
    """Containers and data; also those that a session which was killed has left."""
    stack.docker("compose", "--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "10")


def _services(stack: ComposeStack) -> Sequence[str]:
    """Those that stay up: bootstrap ends, which `--wait` would take for a failure."""
    return [name for name in stack.docker("compose", "config", "--services").split() if name != "bootstrap"]
