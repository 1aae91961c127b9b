"""Generated documents are what the code says, and `make generate` does not write what would break readers."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tools.documents import configuration
from tools.documents.catalogue import RESERVED, ROOT, messages, schemas, topics
from tools.documents.writing import broken_readers, documents, drifted, write

from chatferry.common.contracts.schemas import EVENTS, RECORDS
from chatferry.common.settings import BaseServiceSettings

DOCS = ROOT / "docs"
VARIABLE = re.compile(r"\bCHATFERRY_[A-Z_]*[A-Z]\b")


def test_no_document_has_drifted() -> None:
    assert drifted(DOCS) == [], "type `make generate` and commit what it writes"


def test_no_schema_breaks_the_readers_of_the_committed_one() -> None:
    assert broken_readers(DOCS) == []


def test_a_document_edited_by_hand_is_noticed_and_written_anew(tmp_path: Path) -> None:
    assert sorted(write(tmp_path)) == sorted(documents())
    (tmp_path / "topics.md").write_text("by hand", encoding="utf-8")
    (tmp_path / "schemas" / "events" / "RunStopped.json").unlink()
    assert drifted(tmp_path) == ["schemas/events/RunStopped.json", "topics.md"]
    write(tmp_path)
    assert drifted(tmp_path) == []


def test_a_schema_of_an_event_that_is_gone_is_a_break(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "schemas" / "events" / "RunForgotten.json").write_text("{}", encoding="utf-8")
    assert drifted(tmp_path) == ["schemas/events/RunForgotten.json"]
    assert broken_readers(tmp_path) == [
        "schemas/events/RunForgotten.json: the schema is gone, and with it the event",
    ]


def test_a_committed_schema_with_a_field_that_the_code_lost_is_a_break(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / "schemas" / "records" / "users.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    schema["properties"]["nickname"] = {"type": "string"}
    file.write_text(json.dumps(schema), encoding="utf-8")
    assert broken_readers(tmp_path) == ["schemas/records/users.json: the body has lost the field nickname"]


def test_every_body_of_the_contracts_is_on_a_topic() -> None:
    shown = {message.model for topic in topics() for message in messages(topic)}
    declared = {*RECORDS.values(), *(model for models in EVENTS.values() for model in models)}
    assert shown - {None} == declared
    assert len(schemas()) == len(declared)


def test_events_called_unwritten_are_written_by_nobody() -> None:
    models = {message.model for topic in topics() for message in messages(topic) if message.reserved}
    names = {model.__name__ for model in models if model is not None}
    sources = [file for part in ("libs", "services") for file in (ROOT / part).rglob("*.py")]
    users = {
        name
        for file in sources
        if "contracts" not in file.parts
        for name in (*names, *RESERVED)
        if name in file.read_text(encoding="utf-8")
    }
    assert users == set(), "take it out of RESERVED in tools/documents/catalogue.py"


def test_every_service_with_settings_is_on_the_page() -> None:
    folders = {file.parents[2].name for file in (ROOT / "services").glob("*/chatferry/*/settings.py")}
    assert set(configuration.SERVICES) == folders
    assert all(issubclass(settings, BaseServiceSettings) for settings in configuration.SERVICES.values())


def test_every_setting_says_what_it_means() -> None:
    silent = [
        f"{service}.{name}"
        for service, settings in configuration.SERVICES.items()
        for name, field in settings.model_fields.items()
        if not field.description
    ]
    assert silent == []


def test_every_variable_that_the_code_names_is_on_the_page() -> None:
    page = set(VARIABLE.findall((DOCS / "configuration.md").read_text(encoding="utf-8")))
    sources = [file for part in ("libs", "services") for file in (ROOT / part).rglob("*.py")]
    named = {name for file in sources for name in VARIABLE.findall(file.read_text(encoding="utf-8"))}
    assert named - page == set()
