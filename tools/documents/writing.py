"""All generated documents: what they should hold, what has drifted, and writing them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tools.documents.asyncapi import asyncapi_document
from tools.documents.catalogue import Json, schemas
from tools.documents.compatibility import breaks
from tools.documents.configuration import configuration_page
from tools.documents.pages import topics_page

from chatferry.chat.openapi import rendered as target_openapi
from chatferry.participants.openapi import rendered as participants_openapi


def documents() -> dict[str, str]:
    """Every generated document, by its path under docs/."""
    found = {
        "topics.md": topics_page(),
        "configuration.md": configuration_page(),
        "asyncapi.json": _json(asyncapi_document()),
        "target-openapi.json": target_openapi().decode(),
        "participants-openapi.json": participants_openapi().decode(),
    }
    return found | {path: _json(schema) for path, schema in schemas().items()}


def drifted(folder: Path) -> list[str]:
    """Documents of the folder that are not what they should be: missing, old, or made from nothing any more."""
    wanted = documents()
    stale = [path for path, text in wanted.items() if _read(folder / path) != text]
    return sorted(stale + _orphans(folder, wanted))


def broken_readers(folder: Path) -> list[str]:
    """What the code's schemas would break for readers of the folder's."""
    new = schemas()
    sentences = [f"{path}: the schema is gone, and with it the event" for path in _orphans(folder, new)]
    for path, schema in new.items():
        text = _read(folder / path)
        if text is not None:
            sentences += [f"{path}: {sentence}" for sentence in breaks(json.loads(text), schema)]
    return sentences


def write(folder: Path) -> list[str]:
    """Write what has drifted; returns which."""
    wanted, changed = documents(), drifted(folder)
    for path in changed:
        file = folder / path
        if path not in wanted:
            file.unlink()
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(wanted[path], encoding="utf-8")
    return changed


def _orphans(folder: Path, wanted: Mapping[str, object]) -> list[str]:
    there = [file.relative_to(folder).as_posix() for file in (folder / "schemas").rglob("*.json")]
    return [path for path in sorted(there) if path not in wanted]


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _json(content: Json) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
