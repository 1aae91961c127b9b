"""A replica set for a MongoDB that was started for one and has none yet: transactions need it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo.errors import ConfigurationError as UnreadableUrl
from pymongo.errors import InvalidURI
from pymongo.uri_parser import parse_uri

from chatferry.common.adapters.mongo import NO_URL, Client, OperationFailure, mongo_outage, open_client
from chatferry.common.errors import ConfigurationError, OutageError

_ALREADY_INITIALIZED = 23


async def ensure_replica_set(url: str) -> None:
    """Returns once the set that `url` names has a primary; initiates it, of the hosts in `url`, where there is none.

    Safe to repeat. OutageError while no host answers or no primary is elected, ConfigurationError when the URL
    names no set or the server belongs to none or to another. A server that asks for a password is left to its
    administrator.
    """
    name, hosts = _wanted(url)
    client = open_client(f"mongodb://{hosts[0]}/?directConnection=true", timeout_ms=2_000)
    try:
        with mongo_outage():
            hello = await client.admin.command("hello")
            if "setName" not in hello:
                await _initiate(client, hello, name, hosts)
                hello = await client.admin.command("hello")
    finally:
        client.close()
    if hello.get("setName", name) != name:
        raise ConfigurationError(
            f"CHATFERRY_MONGODB names the replica set {name}, but {hosts[0]} belongs to {hello['setName']}"
        )
    if not (hello.get("isWritablePrimary") or hello.get("primary")):
        raise OutageError("mongodb", f"the replica set {name} of MongoDB has no primary yet")


def _wanted(url: str) -> tuple[str, list[str]]:
    """The set's name and its hosts as `host:port`. The URL is not quoted: it may hold a password."""
    try:
        parts = parse_uri(url)
    except (InvalidURI, UnreadableUrl, ValueError):
        raise ConfigurationError(NO_URL) from None
    # The driver keeps the writing of its own list of options, or of the URL: it depends on its version.
    name = {option.lower(): value for option, value in parts["options"].items()}.get("replicaset")
    if not name:
        raise ConfigurationError("CHATFERRY_MONGODB names no replica set; add ?replicaSet=rs0 to it")
    if parts.get("username"):
        raise ConfigurationError(
            "CHATFERRY_MONGODB has a user, so its replica set is its administrator's to initiate;"
            " run `chatferry bootstrap` without --initiate-replica-set"
        )
    return str(name), [f"{host}:{port or 27017}" for host, port in parts["nodelist"]]


async def _initiate(client: Client, hello: Mapping[str, Any], name: str, hosts: list[str]) -> None:
    if not hello.get("isreplicaset"):
        raise ConfigurationError(f"{hosts[0]} was not started for a replica set; start mongod with --replSet {name}")
    members = [{"_id": number, "host": host} for number, host in enumerate(hosts)]
    try:
        await client.admin.command("replSetInitiate", {"_id": name, "version": 1, "members": members})
    except OperationFailure as refused:
        if refused.code != _ALREADY_INITIALIZED:
            raise ConfigurationError(
                f"MongoDB refuses to initiate the replica set {name} (code {refused.code}); see its log"
            ) from refused
