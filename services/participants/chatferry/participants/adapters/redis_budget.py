"""The calls to MAX that all replicas may make together: a window that slides on Redis' clock."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from redis.asyncio import Redis

from chatferry.common.clock import Clock
from chatferry.participants.adapters.local_work import LATE_S, LONGEST_PAUSE_S, Allowance
from chatferry.participants.adapters.redis_base import Keys, Turns, redis_outage
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.ports import Grant

# Microseconds, below 2^53. What a Redis that has started anew holds may be long past, and nobody knows what was granted
# before a key that is missing, or by how much a clock went back: as if the window were full, and the hour's share used
# evenly. `cap`: after a 429 less than `most`; one more for every 5 s without another, once the pause is over.
_READ = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local most, per_hour = tonumber(ARGV[1]), tonumber(ARGV[2])
local h = redis.call('HMGET', KEYS[1], 'run', 'cap', 'refused', 'pause', 'backoff', 'begun', 'asked')
local last = tonumber(redis.call('LINDEX', KEYS[2], -1) or '0')
local minute = math.floor(now / 60000000)
local limited = per_hour < most * 3600
local refused, pause, backoff = tonumber(h[3] or '0'), tonumber(h[4] or '0'), tonumber(h[5] or '0')
local begun, asked = tonumber(h[6] or '0'), tonumber(h[7] or '0')
if h[1] ~= run or last > now or refused > now or asked > now or begun > now + 1100000 then
  begun, asked = now + 1100000, 0
  if refused > now then refused, pause = now, 0 end
  if pause > now + 3600000000 then pause = 0 end
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'run', run, 'begun', string.format('%.0f', begun), 'asked', '0')
  redis.call('HSET', KEYS[1], 'refused', string.format('%.0f', refused), 'pause', string.format('%.0f', pause))
  if limited then
    for m = minute - 59, minute - 1 do
      local spent = math.max(tonumber(redis.call('HGET', KEYS[3], m) or '0'), math.floor(per_hour / 60))
      redis.call('HSET', KEYS[3], m, spent)
    end
  end
end
local cap = tonumber(h[2] or ARGV[1])
cap = math.min(most, cap + math.max(0, math.floor((now - math.max(refused, pause)) / 5000000)))
redis.call('PEXPIRE', KEYS[1], 86400000)
"""
# ARGV: most, per_hour, MAX's limit, reserve, 1 for ASKED. Three windows, each with its own most: the second; the second
# and the time that leave may be late by, so that what is made then keeps to MAX's limit too; and a part of the second,
# so that calls are no bursts with a pause behind them: a half, or a quarter for what nobody waits for, so that who is
# waited for finds room soon. -> now in ms, wait in microseconds.
_TAKE = f"""{_READ}
local limit, urgent = tonumber(ARGV[3]), ARGV[5] == '1'
local reserve = math.min(tonumber(ARGV[4]), math.floor(most / 5))
local may = cap
if not urgent and now - asked < 5000000 then may = cap - math.floor(reserve * cap / most) end
local wait = math.max(0, pause - now, begun - now)
local g = redis.call('LRANGE', KEYS[2], 0, -1)
local function room(most_in, window)
  if #g >= most_in then wait = math.max(wait, g[#g - most_in + 1] + window + 1 - now) end
end
room(may, 1000000)
room(math.max(may, math.min(math.ceil(may * 1.1), limit)), 1100000)
if urgent then room(math.ceil(may / 2), 500000) else room(math.ceil(may / 4), 250000) end
if limited then
  local spent, old = 0, {{}}
  local buckets = redis.call('HGETALL', KEYS[3])
  for i = 1, #buckets, 2 do
    if tonumber(buckets[i]) < minute - 60 or tonumber(buckets[i]) > minute then old[#old + 1] = buckets[i]
    else spent = spent + buckets[i + 1] end
  end
  if #old > 0 then redis.call('HDEL', KEYS[3], unpack(old)) end
  if spent >= math.floor(per_hour * may / cap) then wait = math.max(wait, (minute + 1) * 60000000 - now) end
end
if urgent then redis.call('HSET', KEYS[1], 'asked', string.format('%.0f', now)) end
if wait <= 0 then
  redis.call('RPUSH', KEYS[2], string.format('%.0f', now))
  redis.call('LTRIM', KEYS[2], -64, -1)
  redis.call('PEXPIRE', KEYS[2], 10000)
  if limited then
    redis.call('HINCRBY', KEYS[3], minute, 1)
    redis.call('PEXPIRE', KEYS[3], 7200000)
  end
end
return {{math.floor(now / 1000), math.ceil(wait)}}
"""
# ARGV: most, per_hour, pause that MAX asked for in microseconds (0: none), jitter. Calls that were under way together
# are refused together: that is one refusal.
_REFUSED = f"""{_READ}
local told, jitter = tonumber(ARGV[3]), tonumber(ARGV[4])
if now - refused > 1000000 then
  if now - math.max(refused, pause) > 5000000 then backoff = 0 end
  backoff = math.min(60000000, math.max(1000000, backoff * 2))
  redis.call('HSET', KEYS[1], 'cap', math.max(1, math.floor(cap / 2)), 'backoff', string.format('%.0f', backoff))
end
if told <= 0 then told = backoff * jitter end
pause = math.max(pause, now + told)
redis.call('HSET', KEYS[1], 'refused', string.format('%.0f', now), 'pause', string.format('%.0f', pause))
return math.ceil(pause - now)
"""
# KEYS: the hour's. ARGV: of each minute, which and how many. What a Redis that has started anew holds as used before it
# began is the more of this and an even share (`_READ`).
_SPENT = """
for i = 1, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], 7200000)
"""


@dataclass(slots=True)
class _Line:
    """Those of this process who take leave with the same urgency: one after the other, not all at once each time."""

    turns: Turns = field(default_factory=Turns)
    nothing_until: float = 0.0
    now_ms: int = 0


class RedisBudget:
    """Port Budget."""

    def __init__(self, redis: Redis, keys: Keys, allowance: Allowance, clock: Clock, rng: random.Random) -> None:
        self._allowance, self._clock, self._rng = allowance, clock, rng
        self._lines = {True: _Line(), False: _Line()}
        self._keys = [keys.own("budget"), keys.own("budget:granted"), keys.own("budget:hour")]
        self._take = redis.register_script(_TAKE)
        self._refused = redis.register_script(_REFUSED)
        self._spent = redis.register_script(_SPENT)

    async def take(self, urgency: Urgency) -> Grant:
        line = self._lines[urgency is Urgency.ASKED]
        async with line.turns.turn():
            began = self._clock.monotonic()
            if began < line.nothing_until:
                return Grant(line.now_ms, self._later(line.nothing_until - began))
            may = self._allowance
            arguments = [may.per_second, may.per_hour, may.limit, may.reserve, int(urgency is Urgency.ASKED)]
            async with redis_outage():
                now_ms, wait_us = await self._take(keys=self._keys, args=arguments)
            if wait_us > 0:
                # Room comes with time alone, so all who ask here before may have the same answer.
                line.now_ms, line.nothing_until = now_ms, self._clock.monotonic() + wait_us / 1_000_000
                return Grant(now_ms, self._later(wait_us / 1_000_000))
            if self._clock.monotonic() - began > LATE_S:
                # Counted as used, so that nothing is exceeded when Redis answers many at once after a while.
                return Grant(now_ms, self._later(0.005))
            return Grant(now_ms, 0.0, began + LATE_S)

    async def spent(self, calls: Mapping[int, int]) -> None:
        """Calls that were made without Redis, by the minute of its clock."""
        if calls and self._allowance.per_hour < self._allowance.per_second * 3_600:
            async with redis_outage():
                await self._spent(keys=self._keys[2:], args=[number for pair in calls.items() for number in pair])

    def _later(self, seconds: float) -> float:
        return seconds + self._rng.uniform(0, 0.005)

    async def refused(self, retry_after_s: float | None) -> None:
        told_s = retry_after_s if retry_after_s is not None and retry_after_s > 0 else 0.0
        told_us = int(min(told_s, LONGEST_PAUSE_S) * 1_000_000)
        arguments = [self._allowance.per_second, self._allowance.per_hour, told_us, self._rng.uniform(1.0, 1.25)]
        async with redis_outage():
            await self._refused(keys=self._keys, args=arguments)
