from __future__ import annotations

import pytest

from chatferry.extractor.settings import ExtractorSettings


@pytest.mark.parametrize(
    ("capacity", "reserve", "concurrency", "kept"), [(50, 2, 3, 2), (50, 2, 8, 7), (50, 5, 3, 5), (2, 2, 3, 1)]
)
def test_a_request_for_each_that_may_be_late_is_kept_in_reserve(
    capacity: int, reserve: int, concurrency: int, kept: int
) -> None:
    settings = ExtractorSettings.model_construct(
        portal_bucket_capacity=capacity,
        portal_bucket_per_second=2.0,
        portal_bucket_reserve=reserve,
        portal_concurrency=concurrency,
        portal_operating_seconds=480.0,
    )
    assert settings.limits().reserve == kept


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("", []),
        ("old.bitrix24.ru", ["old.bitrix24.ru"]),
        ("A.bitrix24.ru, b.bitrix24.ru", ["a.bitrix24.ru", "b.bitrix24.ru"]),
    ],
)
def test_former_names_of_the_portal_are_spelt_as_webhooks_spell_hosts(said: str, names: list[str]) -> None:
    assert ExtractorSettings.model_construct(portal_formerly=said).former_names() == names
