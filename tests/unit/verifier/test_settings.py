"""A target that the verifier cannot ask is told at its start."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from chatferry.common.errors import ConfigurationError
from chatferry.verifier.settings import VerifierSettings


@pytest.mark.parametrize("host", ["[::1", "host:port", "host:99999", ""])
def test_a_target_that_cannot_be_asked_is_refused_and_not_repeated(host: str) -> None:
    url = SecretStr(f"http://{host}/rest/1/abcsecretdef")
    with pytest.raises(ConfigurationError, match="CHATFERRY_TARGET_URL must be one URL") as wrong:
        VerifierSettings.model_construct(target_url=url, target_url_file=None).target()
    assert "secret" not in wrong.value.sentence.replace("{secret}", "")
