"""Webhook URLs: what is accepted, and sentences that never quote a secret."""

from __future__ import annotations

import pytest

from chatferry.common.errors import ConfigurationError
from chatferry.common.portal.webhook import parse_webhooks

SECRET = "abcsecretdef"


def test_a_webhook_has_its_user_its_host_and_a_base_without_slash() -> None:
    (webhook,) = parse_webhooks([f" https://Firma.bitrix24.ru/rest/17/{SECRET}/ "])
    assert (webhook.user_id, webhook.host) == (17, "firma.bitrix24.ru")
    assert webhook.base == f"https://Firma.bitrix24.ru/rest/17/{SECRET}"
    assert SECRET not in repr(webhook)


def test_a_port_belongs_to_the_host() -> None:
    (webhook,) = parse_webhooks([f"http://127.0.0.1:8080/rest/1/{SECRET}"])
    assert webhook.host == "127.0.0.1:8080"


def test_the_usual_port_makes_no_other_portal() -> None:
    webhooks = parse_webhooks([f"https://p/rest/1/{SECRET}", f"https://P:443/rest/2/{SECRET}"])
    assert {webhook.host for webhook in webhooks} == {"p"}


@pytest.mark.parametrize(
    ("urls", "sentence"),
    [
        ([], "no portal webhook is given"),
        ([f"ftp://p/rest/1/{SECRET}"], "portal webhook 1 is not of the form https://portal/rest/USER_ID/SECRET"),
        ([f"https://p/rest/{SECRET}"], "portal webhook 1 is not of the form"),
        ([f"https:///rest/1/{SECRET}"], "portal webhook 1 is not of the form"),
        ([f"https://p/rest/1/{SECRET}", f"https://p/rest/x/{SECRET}"], "portal webhook 2 has no numeric user id"),
        ([f"https://p/rest/1/{SECRET}", f"https://q/rest/2/{SECRET}"], "belong to different portals"),
        ([f"https://p/rest/1/{SECRET}", f"https://p/rest/1/{SECRET}x"], "two portal webhooks belong to one employee"),
        ([f"https://p:port/rest/1/{SECRET}"], "portal webhook 1 is not of the form"),
        ([f"https://p\x01/rest/1/{SECRET}"], "portal webhook 1 is not of the form"),
        ([f"https://[zz]/rest/1/{SECRET}"], "portal webhook 1 is not of the form"),
        ([f"https://p/rest/\N{SUPERSCRIPT TWO}/{SECRET}"], "portal webhook 1 has no numeric user id"),
        ([f"https://p/rest/{'1' * 5_000}/{SECRET}"], "portal webhook 1 has a user id of 5000 digits"),
        ([f"https://p/rest/{'1' * 19}/{SECRET}"], "portal webhook 1 has a user id of 19 digits"),
    ],
)
def test_a_wrong_webhook_is_one_sentence_without_its_secret(urls: list[str], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        parse_webhooks(urls)
    assert sentence in wrong.value.sentence
    assert SECRET not in wrong.value.sentence
