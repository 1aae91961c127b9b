"""Where the stranger's ledger finds a MongoDB whose password `status` does not show."""

from __future__ import annotations

import pytest
from tools.check_ledger import with_password

from chatferry.stack import without_secret

FULL = "mongodb://ferry:p%40ss@mongo:27017/?replicaSet=rs0&tlsCertificateKeyFilePassword=abc"


@pytest.mark.parametrize("full", [FULL, "mongodb://ferry:p@mongo/?replicaSet=rs0", "mongodb://mongo/?replicaSet=rs0"])
def test_the_environment_completes_what_status_shows(monkeypatch: pytest.MonkeyPatch, full: str) -> None:
    monkeypatch.setenv("CHATFERRY_MONGODB", full)
    assert with_password(without_secret(full)) == full


@pytest.mark.parametrize("other", [None, "", "mongodb://ferry:p@elsewhere:27017/?replicaSet=rs0"])
def test_an_environment_of_another_server_is_not_asked(monkeypatch: pytest.MonkeyPatch, other: str | None) -> None:
    monkeypatch.delenv("CHATFERRY_MONGODB", raising=False)
    if other is not None:
        monkeypatch.setenv("CHATFERRY_MONGODB", other)
    assert with_password("mongodb://mongo:27017/?replicaSet=rs0") == "mongodb://mongo:27017/?replicaSet=rs0"
