"""Which replica does which share of the work: leases in Redis, on its clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

from redis.asyncio import Redis

from chatferry.common.clock import Clock
from chatferry.participants.adapters.local_work import LeaseRules
from chatferry.participants.adapters.redis_base import NOW_LUA, Keys, redis_outage
from chatferry.participants.domain.catalogue import SLOTS
from chatferry.participants.ports import Held

# KEYS: replicas, leases, then what is being read of each slot. ARGV: replica, lease and grace in ms, how many slots we
# say we hold, slot and epoch of each; then the slots of which this process still reads without Redis' knowing.
# A lease is `owner epoch until`; the owner of a free one is `-`. Epochs follow the clock, so that they grow on a Redis
# that has forgotten them, too; and there nobody takes a slot before those who hold it have had the time to say so. One
# that lasts longer than any lease was written before the clock was set back.
_KEEP = f"""{NOW_LUA}
local me, lease, grace, said = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local known = redis.call('HMGET', KEYS[2], 'run', 'begun')
local begun = tonumber(known[2] or '0')
if known[1] ~= run or begun > now then
  begun = now
  redis.call('HSET', KEYS[2], 'run', run, 'begun', now)
end
redis.call('ZADD', KEYS[1], now, me)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - lease)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')
local share = math.ceil({SLOTS} / redis.call('ZCARD', KEYS[1]))
local ours, busy = {{}}, {{}}
for i = 1, said do ours[tonumber(ARGV[3 + 2 * i])] = tonumber(ARGV[4 + 2 * i]) end
for i = 5 + 2 * said, #ARGV do busy[tonumber(ARGV[i])] = true end
local fields = {{}}
for slot = 0, {SLOTS - 1} do fields[slot + 1] = slot end
local rows = redis.call('HMGET', KEYS[2], unpack(fields))
local function keep(slot, owner, epoch, ends)
  redis.call('HSET', KEYS[2], slot, string.format('%s %.0f %.0f', owner, epoch, ends))
end
local mine, free, count = {{}}, {{}}, 0
for slot = 0, {SLOTS - 1} do
  local owner, epoch, ends = string.match(rows[slot + 1] or '- 0 0', '(%S+) (%d+) (%d+)')
  epoch, ends = tonumber(epoch), tonumber(ends)
  local held = ours[slot]
  if owner == me or (held and (held > epoch or (held == epoch and owner == '-'))) then
    if held and held > epoch then epoch = held end
    mine[slot], count = epoch, count + 1
  elseif owner == '-' or ends <= now then
    free[#free + 1] = {{slot, epoch}}
  elseif ends > now + lease then
    keep(slot, owner, epoch, now + lease)
  end
end
local out, over = {{}}, count - share
for slot = {SLOTS - 1}, 0, -1 do
  local epoch = mine[slot]
  if epoch then
    if over > 0 and not busy[slot] and redis.call('EXISTS', KEYS[3 + slot]) == 0 then
      keep(slot, '-', epoch, 0)
    else
      keep(slot, me, epoch, now + lease)
      if over <= 0 then
        out[#out + 1] = slot
        out[#out + 1] = epoch
        out[#out + 1] = ours[slot] == epoch and 0 or 1
      end
    end
    over = over - 1
  end
end
if now - begun >= grace then
  for i = 1, math.min(#free, share - count) do
    local slot, epoch = free[i][1], math.max(free[i][2] + 1, now)
    keep(slot, me, epoch, now + lease)
    out[#out + 1] = slot
    out[#out + 1] = epoch
    out[#out + 1] = 1
  end
end
return out
"""
# What is still being read of a slot keeps its lease until it ends by itself.
_LEAVE = f"""
redis.call('ZREM', KEYS[1], ARGV[1])
for slot = 0, {SLOTS - 1} do
  local owner, epoch = string.match(redis.call('HGET', KEYS[2], slot) or '', '(%S+) (%d+) (%d+)')
  if owner == ARGV[1] and redis.call('EXISTS', KEYS[3 + slot]) == 0 then
    redis.call('HSET', KEYS[2], slot, '- ' .. epoch .. ' 0')
  end
end
"""


@dataclass(frozen=True, slots=True)
class Member:
    """A replica. `name`: no other process has ever had it; without spaces. `busy`: slots of which this process reads
    something, whether or not Redis was told."""

    name: str
    rules: LeaseRules
    busy: Callable[[], Collection[int]] = tuple


class RedisSlots:
    """Port Slots."""

    def __init__(self, redis: Redis, keys: Keys, member: Member, clock: Clock) -> None:
        assert member.rules.read_s < member.rules.lease_s, "a lease lasts longer than a read"
        self._replica, self._rules, self._clock, self._busy = member.name, member.rules, clock, member.busy
        self._keys = [
            keys.own("replicas"),
            keys.own("leases"),
            *(keys.own(f"reading:{slot}") for slot in range(SLOTS)),
        ]
        self._held: dict[int, int] = {}
        self._turn = asyncio.Lock()
        self._keep = redis.register_script(_KEEP)
        self._leave = redis.register_script(_LEAVE)

    async def keep(self) -> Held:
        async with self._turn:
            began = self._clock.monotonic()
            said = [number for pair in self._held.items() for number in pair]
            lease_ms, grace_ms = int(self._rules.lease_s * 1_000), int(self._rules.grace_s * 1_000)
            async with redis_outage():
                flat = await self._keep(
                    keys=self._keys,
                    args=[self._replica, lease_ms, grace_ms, len(self._held), *said, *self._busy()],
                )
            rows = list(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))
            self._held = {slot: epoch for slot, epoch, _ in rows}
            taken = frozenset(slot for slot, _, new in rows if new)
            return Held(dict(self._held), taken, began + self._rules.usable_s)

    async def leave(self) -> None:
        async with self._turn:
            self._held = {}
            async with redis_outage():
                await self._leave(keys=self._keys, args=[self._replica])
