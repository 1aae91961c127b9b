"""A URL of Redis of which no client can be made is one sentence at the start, and is not repeated."""

from __future__ import annotations

import pytest
from redis.asyncio import BlockingConnectionPool

from chatferry.common.adapters.redis import check_redis_url
from chatferry.common.errors import ConfigurationError

SECRET = "abcsecretdef"


@pytest.mark.parametrize(
    "options",
    ["socket_timeout=x", "db=x", "protocol=9", "nobody_knows=1", "retry=3", "max_connections=-1", "ssl_cert_reqs=zz"],
)
def test_an_option_that_redis_does_not_take_is_told_at_the_start(options: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        check_redis_url(f"rediss://:{SECRET}@h:6379/0?{options}")
    assert wrong.value.sentence.startswith("CHATFERRY_REDIS ")
    assert "redis://host:6379/0" in wrong.value.sentence
    assert SECRET not in wrong.value.sentence


@pytest.mark.parametrize("url", ["redis://h", "rediss://me:p%40ss@h:6380/1?health_check_interval=5", "unix:///run/r"])
def test_what_redis_takes_is_taken(url: str) -> None:
    check_redis_url(url)


def test_a_pool_has_options_of_its_own() -> None:
    check_redis_url("redis://h?timeout=5", BlockingConnectionPool)
    with pytest.raises(ConfigurationError):
        check_redis_url("redis://h?timeout=5")
