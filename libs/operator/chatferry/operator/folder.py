"""`.local/`: what a machine keeps of its projects, and who is using it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from chatferry.common.errors import ConfigurationError


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

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Folder:
        """The folder that this environment means."""
        return cls(Path(env.get("CHATFERRY_LOCAL", ".local")).absolute())

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

    def _made(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def save(self, project: Project) -> None:
        """Remember the running project; later commands find it here."""
        write_atomically(self.root / "project.json", json.dumps(asdict(project), indent=1))

    def load(self) -> Project:
        """Raises ConfigurationError when nothing was started here."""
        try:
            return Project(**json.loads((self.root / "project.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ConfigurationError(
                f"no project was started in {self.root}: run `chatferry demo --keep` or `chatferry up` first"
            ) from None
        except (OSError, ValueError, TypeError):
            raise ConfigurationError(
                f"{self.root / 'project.json'} cannot be read; remove it and run `chatferry up` again"
            ) from None

    def secret(self, name: str, value: str) -> Path:
        """Write a secret to a file that only its owner reads."""
        file = self.secrets / name
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(value + "\n")
        return file

    def take(self, who: str) -> IO[str]:
        """Nobody else runs services here while the file, or a copy of its descriptor, is open.

        Raises ConfigurationError that names who does.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        stream = (self.root / "in-use").open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "another chatferry"
            stream.close()
            raise ConfigurationError(
                f"{holder} runs in {self.root}; end it with `chatferry down`, or set CHATFERRY_LOCAL to another folder"
            ) from None
        stream.truncate(0)
        stream.write(who)
        stream.flush()
        return stream


def write_atomically(file: Path, text: str) -> None:
    """A reader sees the old content or the new one, never a part."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object, empty when there is no such file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
