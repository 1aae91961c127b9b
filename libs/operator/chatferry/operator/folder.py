"""`.local/`: what a machine keeps of its projects, and who is using it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from chatferry.common.errors import ConfigurationError, FatalError
from chatferry.common.portal.webhook import parse_webhooks
from chatferry.common.settings import checked_project, is_http_url, secret_lines
from chatferry.stack import without_secret

_PARTS = (
    "CHATFERRY_KAFKA",
    "CHATFERRY_MONGODB",
    "CHATFERRY_REDIS",
    "CHATFERRY_PORTAL_WEBHOOKS_FILE",
    "CHATFERRY_TARGET_URL_FILE",
)
"""What the services are given too; together with CHATFERRY_PROJECT they say where a project is."""


@dataclass(frozen=True, slots=True)
class Project:
    """Where a running project's parts are. The files hold secrets and have mode 600."""

    name: str
    kafka: str
    mongodb: str
    redis: str
    portal_host: str
    webhooks_file: str
    target_url: str
    """Without the secret."""
    rest_url_file: str
    portal_url: str

    @property
    def database(self) -> str:
        """The project's database."""
        return f"chatferry_{self.name.replace('-', '_')}"


class Folder:
    """Paths under one root, `.local/` unless CHATFERRY_LOCAL names another."""

    def __init__(self, root: Path, env: Mapping[str, str] | None = None) -> None:
        self.root = root
        self._env = env or {}

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Folder:
        """The folder that this environment means."""
        return cls(Path(env.get("CHATFERRY_LOCAL", ".local")).absolute(), env)

    @property
    def logs(self) -> Path:
        return self._made("logs")

    @property
    def secrets(self) -> Path:
        folder = self._made("secrets")
        folder.chmod(0o700)
        return folder

    @property
    def addresses(self) -> Path:
        return self._made("run")

    @property
    def report(self) -> Path:
        return self._made("report")

    @property
    def processes(self) -> Path:
        """What the supervisor says of its processes."""
        return self.addresses / "processes.json"

    @property
    def plan(self) -> Path:
        """What the supervisor is told to run."""
        return self.secrets / "plan.json"

    @property
    def project(self) -> Path:
        """Where the parts of the project are that was started last."""
        return self.root / "project.json"

    @property
    def kept(self) -> Path:
        """Whose data are here, a line each; nothing where a demo may delete them."""
        return self.root / "kept"

    def _made(self, name: str) -> Path:
        return _folder_at(self.root / name)

    def save(self, project: Project) -> None:
        """Remember the running project; later commands find it here."""
        write_atomically(self.project, json.dumps(asdict(project), indent=1))

    def load(self) -> Project:
        """What was started here, else what the environment describes. Raises ConfigurationError when neither is."""
        try:
            return Project(**json.loads(self.project.read_text(encoding="utf-8")))
        except FileNotFoundError:
            if all(self._env.get(name) for name in _PARTS):
                return described(self._env)
            raise ConfigurationError(
                f"no project was started in {self.root}: run `chatferry demo --keep` or `chatferry up` first,"
                f" or say where one runs: {', '.join(_PARTS)}"
            ) from None
        except (OSError, ValueError, TypeError):
            raise ConfigurationError(f"{self.project} cannot be read; remove it and run `chatferry up` again") from None

    def service_url(self, name: str) -> str | None:
        """Base URL of a service: what it wrote itself, else what CHATFERRY_SERVICE_URLS (`name=url …`) says."""
        try:
            return (self.addresses / f"{name}.url").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            given = self._env.get("CHATFERRY_SERVICE_URLS", "").split()
            return dict(item.partition("=")[::2] for item in given).get(name)

    def secret(self, name: str, value: str) -> Path:
        """Write a secret to a file that only its owner reads."""
        return write_secret(self.secrets / name, value)

    def take(self, who: str) -> IO[str]:
        """Nobody else runs services here while the file, or a copy of its descriptor, is open.

        Raises ConfigurationError that names who does.
        """
        file = _folder_at(self.root) / "in-use"
        try:
            stream = file.open("a+", encoding="utf-8")
        except OSError as unwritten:
            raise ConfigurationError(_unwritten(file, unwritten)) from None
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "another chatferry"
            stream.close()
            raise ConfigurationError(
                f"{holder} runs in {self.root}; end it with `chatferry down`, or set CHATFERRY_LOCAL to another folder"
            ) from None
        with suppress(OSError):  # on a full disk nobody is told the name, and the lock holds all the same
            os.ftruncate(stream.fileno(), 0)
            os.write(stream.fileno(), who.encode())
        return stream


def described(env: Mapping[str, str]) -> Project:
    """The project of an environment that has all of them. Raises ConfigurationError when a file cannot be used."""
    webhooks, target = Path(env["CHATFERRY_PORTAL_WEBHOOKS_FILE"]), Path(env["CHATFERRY_TARGET_URL_FILE"])
    portal = parse_webhooks(secret_lines(None, webhooks, "PORTAL_WEBHOOKS"))[0]
    url = target_url(secret_lines(None, target, "TARGET_URL"), f"CHATFERRY_TARGET_URL_FILE: {target}")
    return Project(
        name=named_project(env, "demo"),
        kafka=env["CHATFERRY_KAFKA"],
        mongodb=env["CHATFERRY_MONGODB"],
        redis=env["CHATFERRY_REDIS"],
        portal_host=portal.host,
        portal_url=portal.base.partition("/rest/")[0],
        webhooks_file=str(webhooks),
        target_url=without_secret(url.partition("/rest/")[0]),
        rest_url_file=str(target),
    )


def target_url(urls: Sequence[str], where: str) -> str:
    """The one URL of a target. Raises ConfigurationError, which names `where` it was found and repeats nothing."""
    if len(urls) != 1 or not is_http_url(urls[0]) or "/rest/" not in urlsplit(urls[0]).path:
        raise ConfigurationError(f"{where} must hold one URL, http(s)://host/rest/{{user}}/{{secret}}")
    return urls[0]


def named_project(env: Mapping[str, str], otherwise: str) -> str:
    """CHATFERRY_PROJECT, by the services' own rule. Raises ConfigurationError."""
    try:
        return checked_project(env.get("CHATFERRY_PROJECT", otherwise))
    except ValueError as wrong:
        raise ConfigurationError(f"CHATFERRY_PROJECT {wrong}") from None


def _folder_at(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cannot:
        raise ConfigurationError(
            f"the folder {folder} cannot be made ({cannot.strerror}); set CHATFERRY_LOCAL to one that can be written"
        ) from cannot
    return folder


def write_secret(file: Path, value: str) -> Path:
    """A file, mode 600, that holds the value and an end of line. Raises ConfigurationError."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(value + "\n")
    except OSError as unwritten:
        raise ConfigurationError(_unwritten(file, unwritten)) from None
    return file


def write_atomically(file: Path, text: str) -> None:
    """A reader sees the old content or the new one, never a part. Raises FatalError: a disk is full, say."""
    draft = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    except OSError as unwritten:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise FatalError("file.unwritten", _unwritten(file, unwritten)) from unwritten


def _unwritten(file: Path, why: OSError) -> str:
    return f"{file} cannot be written ({why.strerror}): make room on its disk, or mend its rights, and try again"


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object, empty when there is no such file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
