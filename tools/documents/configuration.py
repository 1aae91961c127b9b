"""docs/configuration.md: every setting of every service, and what else is read from the environment."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from chatferry.chat.settings import ChatSettings
from chatferry.common.settings import ENV_PREFIX, BaseServiceSettings, ServiceSettings
from chatferry.extractor.settings import ExtractorSettings
from chatferry.importer.settings import ImporterSettings
from chatferry.participants.settings import ParticipantsSettings
from chatferry.verifier.settings import VerifierSettings

SERVICES: dict[str, type[BaseServiceSettings]] = {
    "extractor": ExtractorSettings,
    "importer": ImporterSettings,
    "verifier": VerifierSettings,
    "chat": ChatSettings,
    "participants": ParticipantsSettings,
}
# Read by the command, not by a service: no settings object has them.
COMMAND: dict[str, str] = {
    "CHATFERRY_LOCAL": "Folder of data, logs, secrets, reports and of what runs; `.local` where none is named.",
    "CHATFERRY_SUPERVISED": "Set by the supervisor alone, in what it starts: the folder that a process belongs to.",
    "CHATFERRY_TOPICS_FILE": "List of topics that the bootstrap creates; `deploy/topics.yaml` of the checkout.",
    "CHATFERRY_KAFKA": "Bootstrap address of a Kafka of yours; without it the command starts one.",
    "CHATFERRY_MONGODB": "URL of a replica set of yours; without it the command starts one.",
    "CHATFERRY_REDIS": "URL of a Redis of yours; without it the command starts one.",
    "CHATFERRY_PROJECT": "Name of the project that `up` starts (`local`) and `bootstrap` prepares (`demo`).",
    "CHATFERRY_PORTAL_WEBHOOKS": "The portal that `up` moves: webhook URLs, separated by commas.",
    "CHATFERRY_PORTAL_WEBHOOKS_FILE": "The same in a file, one URL a line.",
    "CHATFERRY_TARGET_URL": "Target of yours that `up` moves to: http(s)://host/rest/{user}/{secret}; without it ours.",
    "CHATFERRY_TARGET_URL_FILE": "The same in a file; also of a project that runs elsewhere (`docs/containers.md`).",
    "CHATFERRY_SERVICE_URLS": "Where `status` asks its services for their health: `name=url`, separated by spaces.",
    "CHATFERRY_PORTAL_CA_FILE": "CA of the portal's certificate, PEM, for `doctor`.",
    "CHATFERRY_TARGET_CA_FILE": "Certificates (PEM) that the target's must lead to, for `doctor`.",
}
_UNITS = {"_seconds": "s", "_s": "s", "_ms": "ms", "_bytes": "bytes", "_bytes_max": "bytes"}
_HEAD = """<!-- Made by `make generate` from the services' settings; edit those. -->
# Configuration

Everything comes from environment variables. A service reads its settings once, at its start; with a wrong one it ends
with exit code 2 and one line that says which and why; with 1 when its port is taken, which the next start may mend.
`chatferry up` and `chatferry demo` set the addresses, ports and secrets of the services they start; every other
variable of theirs is passed on. Secrets are best given by the `…_FILE` variables: a file of mode 600.
"""


def configuration_page() -> str:
    """The page, as Markdown."""
    base, streaming = set(BaseServiceSettings.model_fields), set(ServiceSettings.model_fields)
    parts = [
        _HEAD,
        _section("Every service", BaseServiceSettings, list(BaseServiceSettings.model_fields), ""),
        _section(
            "Every service but the target",
            ServiceSettings,
            [name for name in ServiceSettings.model_fields if name not in base],
            "",
        ),
    ]
    for service, settings in SERVICES.items():
        own = [name for name in settings.model_fields if name not in streaming | base]
        parts.append(_section(service, settings, own, _first_line(settings)))
    return "\n".join([*parts, _command()]).rstrip() + "\n"


def _first_line(settings: type[BaseServiceSettings]) -> str:
    return (settings.__doc__ or "").strip().splitlines()[0] + "\n\n"


def _section(title: str, settings: type[BaseServiceSettings], names: list[str], about: str) -> str:
    rows = "\n".join(_row(name, settings.model_fields[name]) for name in names)
    return f"## {title}\n\n{about}| variable | type | default | meaning |\n| --- | --- | --- | --- |\n{rows}\n"


def _command() -> str:
    rows = "\n".join(f"| `{name}` | {about} |" for name, about in COMMAND.items())
    head = "## The command `chatferry`\n\nBeside what it passes on to the services:\n\n"
    return f"{head}| variable | meaning |\n| --- | --- |\n{rows}\n"


def _row(name: str, field: FieldInfo) -> str:
    about = (field.description or "").replace("|", "\\|")
    variable = field.alias or f"{ENV_PREFIX}{name.upper()}"
    return f"| `{variable}` | {_type(name, field)} | {_default(field)} | {about} |"


def _type(name: str, field: FieldInfo) -> str:
    unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), None)
    words = [_word(field.annotation), *([unit] if unit else []), *_bounds(field)]
    return ", ".join(words)


def _word(annotation: Any) -> str:
    if get_origin(annotation) in (Union, types.UnionType):
        return next(_word(one) for one in get_args(annotation) if one is not types.NoneType)
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{one}`" for one in get_args(annotation))
    plain = {
        str: "text",
        SecretStr: "text, secret",
        int: "whole number",
        float: "number",
        bool: "`true` or `false`",
        Path: "path",
    }
    if annotation in plain:
        return plain[annotation]
    return {dict: "JSON object", tuple: "JSON list"}[get_origin(annotation)]


def _bounds(field: FieldInfo) -> list[str]:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(rule, name):g}" if getattr(rule, name) < 100_000 else f"{sign} {getattr(rule, name)}"
        for rule in field.metadata
        for name, sign in signs.items()
        if getattr(rule, name, None) is not None
    ]
    pattern = next((rule.pattern for rule in field.metadata if getattr(rule, "pattern", None)), None)
    return [*found, *([f"`{pattern}`".replace("|", "\\|")] if pattern else [])]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True) if field.default_factory is not None else field.default
    if value is None or value == "" or value is PydanticUndefined:
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f"`{value}`"
