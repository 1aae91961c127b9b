"""What a demo is told, before anything is started."""

from __future__ import annotations

import pytest

from chatferry.common.errors import ConfigurationError
from chatferry.operator.demo import limits_of, project_name

NAMED = {"CHATFERRY_KAFKA": "127.0.0.1:9092", "CHATFERRY_MONGODB": "mongodb://127.0.0.1:27017/?replicaSet=rs0"}
NAMED["CHATFERRY_REDIS"] = "redis://127.0.0.1:6379/0"


def test_on_parts_of_its_own_a_demo_is_called_demo() -> None:
    assert project_name({}) == "demo"


@pytest.mark.parametrize("name", list(NAMED))
def test_on_parts_that_others_run_each_demo_has_a_name_of_its_own(name: str) -> None:
    """Data of earlier demos may lie there: records of another portal would be found at the target."""
    first, second = project_name({name: NAMED[name]}), project_name({name: NAMED[name]})
    assert first.startswith("demo-")
    assert first != second


def test_the_limits_of_the_portal_are_those_of_the_extractor() -> None:
    assert limits_of("250:5") == {
        "CHATFERRY_PORTAL_BUCKET_CAPACITY": "250",
        "CHATFERRY_PORTAL_BUCKET_PER_SECOND": "5",
    }


@pytest.mark.parametrize("bucket", ["50", "fifty:2", "50:two", ":", "50:2:3", "²:2", "50:²"])
def test_limits_of_another_form_are_one_sentence(bucket: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        limits_of(bucket)
    assert "give CAPACITY:PER_SECOND, as in 50:2, or off" in wrong.value.sentence
