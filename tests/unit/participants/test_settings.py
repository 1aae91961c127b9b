"""A wrong setting is one line that says which."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from chatferry.common.errors import ConfigurationError
from chatferry.participants.settings import ParticipantsSettings


def settings(secret: str) -> ParticipantsSettings:
    return ParticipantsSettings.model_construct(max_webhook_secret=SecretStr(secret))


@pytest.mark.parametrize("secret", ["abcd", "a" * 257, "with space", "full.stop", "пароль-бота", "plus+sign"])
def test_a_webhook_secret_that_max_does_not_take_is_named_and_not_printed(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="CHATFERRY_MAX_WEBHOOK_SECRET") as refused:
        settings(secret).webhook_secret()
    assert secret not in str(refused.value)


@pytest.mark.parametrize("secret", ["abcde", "A-z_0123456789", "a" * 256])
def test_a_webhook_secret_that_max_takes_is_taken(secret: str) -> None:
    assert settings(secret).webhook_secret() == secret
