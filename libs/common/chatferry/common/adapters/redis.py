"""What a call to Redis raises when Redis is away, and whether a client can be made at all."""

from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from chatferry.common.errors import ConfigurationError

REDIS_AWAY = (RedisError, OSError, RuntimeError)
"""RuntimeError: uvloop's word for a write to a connection that died in this turn of the loop."""


def check_redis_url(url: str, pool: type[ConnectionPool] = ConnectionPool) -> None:
    """Connects nowhere. Raises ConfigurationError, without the URL, when no connection can be made of it: its options
    become arguments of the client, and one that it does not have would raise whatever it raises at the first call."""
    try:
        pool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
    except (AttributeError, TypeError, ValueError, RedisError):
        raise ConfigurationError(
            "CHATFERRY_REDIS is no URL of Redis, redis://host:6379/0, or has an option behind its ? that Redis' client "
            "does not take; correct it"
        ) from None
