"""What a call to Redis raises when Redis is away."""

from redis.exceptions import RedisError

REDIS_AWAY = (RedisError, OSError, RuntimeError)
"""RuntimeError: uvloop's word for a write to a connection that died in this turn of the loop."""
