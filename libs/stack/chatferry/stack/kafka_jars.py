"""Kafka's jars: exactly those in `kafka.lock.toml`, from our cache, this user's Maven repository, or Maven Central.

The lock has jgo's format and names every jar with its SHA-256: nothing is resolved on the user's machine, only fetched.
"""

import hashlib
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from chatferry.stack.errors import ProgramError

ENDPOINT = "org.apache.kafka:kafka_2.13:4.3.0+org.slf4j:slf4j-simple:1.7.36"
LOCK = Path(__file__).with_name("kafka.lock.toml")
_FETCHERS = 4
_FETCH_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class LockedJar:
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where a Maven repository keeps it, relative to the repository."""
        return Path(*self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar")

    def is_in(self, repository: Path) -> bool:
        """Whether the repository has it with the locked content."""
        try:
            with (repository / self.path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except OSError:
            return False


def locked_jars(lock: Path = LOCK) -> list[LockedJar]:
    """The jars of the lock, in the order of the class path."""
    dependencies = tomllib.loads(lock.read_text())["dependencies"]
    return [LockedJar(d["groupId"], d["artifactId"], d["version"], d["sha256"]) for d in dependencies]


def maven_repositories(env: Mapping[str, str], fallback: Path) -> tuple[Path, Path]:
    """Our own cache (`fallback` when the user's cache folder cannot be written) and the user's Maven repository."""
    home = Path(env.get("HOME") or "/nonexistent")
    own = Path(env.get("XDG_CACHE_HOME") or home / ".cache") / "chatferry" / "maven"
    users = Path(env.get("M2_REPO") or home / ".m2" / "repository")
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError:
        return fallback, users
    return (own if os.access(own, os.W_OK) else fallback), users


def jar_paths(jars: Sequence[LockedJar], cache: Path, users: Path, announce: Callable[[str], None]) -> list[Path]:
    """Every jar of the lock as a verified file in `cache`; what is not there is taken from `users` or fetched.

    Raises ProgramError when a jar cannot be fetched or is not what the lock says; OSError when the disk refuses.
    """
    missing = [jar for jar in jars if not jar.is_in(cache)]
    for jar in [jar for jar in missing if jar.is_in(users)]:
        _put(users / jar.path, cache / jar.path)
        missing.remove(jar)
    if missing:
        announce(f"fetching {len(missing)} jars of Kafka (45 MB in all, only this once)")
        _fetch_all(missing, cache)
    return [cache / jar.path for jar in jars]


def _fetch_all(jars: Sequence[LockedJar], cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as folder,
        ThreadPoolExecutor(_FETCHERS) as fetchers,
    ):
        list(fetchers.map(lambda jar: _fetch(jar, Path(folder), cache), jars))


def _fetch(jar: LockedJar, fetched: Path, cache: Path) -> None:
    # Imported here: it costs half a second that later starts need not pay.
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext
    from requests import RequestException

    context = MavenContext(
        repo_cache=fetched,
        local_repos=[],
        remote_repos={"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories},
        timeout=_FETCH_TIMEOUT_S,
    )
    try:
        context.project(jar.group, jar.artifact).at_version(jar.version).artifact(packaging="jar").resolve()
    except (RequestException, RuntimeError) as error:
        reason = error.__class__.__name__ if isinstance(error, RequestException) else "it is not there"
        raise ProgramError(f"{jar.path.name} could not be fetched from Maven Central ({reason})") from error
    if not jar.is_in(fetched):
        raise ProgramError(
            f"{jar.path.name} as fetched from Maven Central does not have the SHA-256 that {LOCK.name} "
            "asks for, so it is not run"
        )
    _put(fetched / jar.path, cache / jar.path)


def _put(source: Path, target: Path) -> None:
    """Copy in one step, so that another process never sees half a jar."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.NamedTemporaryFile(dir=target.parent, prefix=".jar-", delete=False) as fresh,
        source.open("rb") as content,
    ):
        shutil.copyfileobj(content, fresh)
    os.replace(fresh.name, target)
