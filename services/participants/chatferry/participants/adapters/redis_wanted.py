"""Chats that somebody wants read, and those that are being read: in Redis, by slot."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from redis.asyncio import Redis

from chatferry.common.clock import Clock
from chatferry.participants.adapters.redis_base import ANSWER_S, NOW_LUA, QUICK_S, Keys, Turns, redis_outage
from chatferry.participants.domain.catalogue import slot_of
from chatferry.participants.domain.counts import ChatId
from chatferry.participants.domain.plan import Debounce, Urgency
from chatferry.participants.ports import NEW_ENOUGH_S, NONE_AGAIN, PATIENCE_S, Claim, Of

_SWEEP_S = 5.0
_PLANNED = 9

# Sorted sets `asked` and `changed`: chat -> when it is due. Hash `reading`: chat -> the reader's epoch and what it was
# wanted for: a(sked), c(hanged), p(lanned). Who does not hold the slot's lease with its epoch any more changes nothing.
_LEASE = f"""{NOW_LUA}
local function lease(slot)
  local epoch, ends = string.match(redis.call('HGET', KEYS[1], slot) or '', '%S+ (%d+) (%d+)')
  return epoch, tonumber(ends or '0')
end
"""
# KEYS: a set and `reading` for each. ARGV: delay; then the chats. Who asks does not wait longer because of an earlier
# attempt; of those who ask during a read the last one counts, for whom it may be too old.
_ASK = f"""{NOW_LUA}
local delay = tonumber(ARGV[1])
for i = 1, #KEYS / 2 do
  local set, chat = KEYS[2 * i - 1], ARGV[1 + i]
  if delay > 0 then
    redis.call('ZADD', set, 'NX', now + delay, chat)
  elseif redis.call('HEXISTS', KEYS[2 * i], chat) == 1 then
    redis.call('ZADD', set, now, chat)
  else
    redis.call('ZADD', set, 'LT', now, chat)
  end
end
"""
# KEYS: leases; asked, changed, reading of each slot. ARGV: longest read in ms, most, slots, planned, the first and the
# last of the sets to take of (0: asked, 1: changed); slot and epoch of each; which slot (1 to n) and chat of each
# planned; then the chats that this process reads already. -> of each claim: slot, chat, urgency, for how long it has
# been due in ms.
_CLAIM = f"""{_LEASE}
local read, most, n, planned = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local good, skip, out, count = {{}}, {{}}, {{}}, 0
for i = 1, n do
  local epoch, ends = lease(ARGV[5 + 2 * i])
  good[i] = epoch == ARGV[6 + 2 * i] and ends - now > read
end
for i = 7 + 2 * n + 2 * planned, #ARGV do skip[ARGV[i]] = true end
local function claim(chat, i, urgency, waited)
  if count >= most or skip[chat] then return end
  local epoch, reading = ARGV[6 + 2 * i], KEYS[3 * i + 1]
  local reader = redis.call('HGET', reading, chat)
  if reader and string.match(reader, '%d+') == epoch then return end
  local why = redis.call('ZREM', KEYS[3 * i - 1], chat) == 1 and 'a' or ''
  if redis.call('ZREM', KEYS[3 * i], chat) == 1 then why = why .. 'c' end
  redis.call('HSET', reading, chat, epoch .. ' ' .. (why == '' and 'p' or why))
  count = count + 1
  out[#out + 1] = tonumber(ARGV[5 + 2 * i])
  out[#out + 1] = chat
  out[#out + 1] = urgency
  out[#out + 1] = waited
end
for urgency = tonumber(ARGV[5]), tonumber(ARGV[6]) do
  local due = {{}}
  for i = 1, n do
    if good[i] and count < most then
      local enough = most + redis.call('HLEN', KEYS[3 * i + 1])
      local rows = redis.call('ZRANGEBYSCORE', KEYS[3 * i - 1 + urgency], '-inf', now, 'WITHSCORES', 'LIMIT', 0, enough)
      for j = 1, #rows, 2 do due[#due + 1] = {{tonumber(rows[j + 1]), rows[j], i}} end
    end
  end
  table.sort(due, function(a, b) return a[1] < b[1] end)
  for _, one in ipairs(due) do claim(one[2], one[3], urgency, now - one[1]) end
end
for j = 1, planned do
  local at = 5 + 2 * n + 2 * j
  local i = tonumber(ARGV[at])
  if good[i] then claim(ARGV[at + 1], i, {_PLANNED}, 0) end
end
return out
"""
# KEYS: leases; asked, changed, reading of each chat. ARGV: debounce in ms; how many ms ago somebody may have asked at
# the latest who is answered now; slot, epoch, chat, after how many ms again (-1: not).
_FINISH = f"""{_LEASE}
local answered = now - tonumber(ARGV[2])
for i = 1, (#ARGV - 2) / 4 do
  local at = 4 * i - 1
  local epoch, chat = ARGV[at + 1], ARGV[at + 2]
  if lease(ARGV[at]) == epoch then
    local asked, changed, reading = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
    local reader, why = string.match(redis.call('HGET', reading, chat) or '', '(%d+) (%a+)')
    if reader == epoch then redis.call('HDEL', reading, chat) end
    local again = tonumber(ARGV[at + 3])
    if again < 0 then
      if tonumber(redis.call('ZSCORE', asked, chat) or now) <= answered then redis.call('ZREM', asked, chat) end
    elseif reader == epoch then
      if string.find(why, 'a') and again <= {int(PATIENCE_S * 1_000)} then
        redis.call('ZADD', asked, 'NX', now + again, chat)
      end
      if string.find(why, 'c') then
        redis.call('ZADD', changed, 'NX', now + math.max(again, tonumber(ARGV[1])), chat)
      end
    end
  end
end
"""
# KEYS: leases; asked, changed, reading of each slot. ARGV: slots; slot and epoch of each; then what we do read.
_RECOVER = f"""{_LEASE}
local n, ours = tonumber(ARGV[1]), {{}}
for i = 2 + 2 * n, #ARGV do ours[ARGV[i]] = true end
for i = 1, n do
  local epoch = ARGV[1 + 2 * i]
  if lease(ARGV[2 * i]) == epoch then
    local rows = redis.call('HGETALL', KEYS[3 * i + 1])
    for j = 1, #rows, 2 do
      local reader, why = string.match(rows[j + 1], '(%d+) (%a+)')
      if reader ~= epoch or not ours[rows[j]] then
        redis.call('HDEL', KEYS[3 * i + 1], rows[j])
        redis.call('ZADD', KEYS[string.find(why, 'a') and 3 * i - 1 or 3 * i], 'LT', now, rows[j])
      end
    end
  end
end
"""


@dataclass(frozen=True, slots=True)
class WantedRules:
    """`read_s`: longest read. `quick_s`: longest wait for Redis where a reader waits too."""

    read_s: float
    debounce: Debounce = field(default_factory=Debounce)
    quick_s: float = QUICK_S


class RedisWanted:
    """Port Wanted. `reading`: what this process reads now; shared with its stand-in."""

    def __init__(self, redis: Redis, keys: Keys, rules: WantedRules, clock: Clock, reading: set[ChatId]) -> None:
        self._keys, self._rules, self._clock, self._reading = keys, rules, clock, reading
        self._read_ms, self._debounce, self._swept = int(rules.read_s * 1_000), rules.debounce, -_SWEEP_S
        # What we have claimed is what a sweep leaves alone: neither may see the other half done.
        self._turns = Turns()
        self._ask = redis.register_script(_ASK)
        self._claim = redis.register_script(_CLAIM)
        self._finish = redis.register_script(_FINISH)
        self._recover = redis.register_script(_RECOVER)

    async def ask(self, chats: Collection[ChatId], urgency: Urgency) -> None:
        await self._wish(chats, urgency, self._rules.quick_s)

    async def hand_over(self, chats: Collection[ChatId], urgency: Urgency) -> None:
        """The same where nobody waits for the answer."""
        await self._wish(chats, urgency, ANSWER_S)

    async def _wish(self, chats: Collection[ChatId], urgency: Urgency, seconds: float) -> None:
        if not chats:
            return
        kind, delay = ("asked", 0) if urgency is Urgency.ASKED else ("changed", self._debounce.wait_ms)
        keys = [self._keys.own(f"{name}:{slot_of(chat)}") for chat in chats for name in (kind, "reading")]
        async with redis_outage(seconds):
            await self._ask(keys=keys, args=[delay, *chats])

    async def claim(
        self, held: Mapping[int, int], planned: Mapping[ChatId, Urgency], most: int, *, of: Of = Of.ALL
    ) -> list[Claim]:
        if not held or most <= 0:
            return []
        async with self._turns.turn():
            await self._sweep(held)
            places = {slot: place for place, slot in enumerate(held, 1)}
            ready = (chat for chat in planned if slot_of(chat) in places and chat not in self._reading)
            chosen = [number for chat in islice(ready, most) for number in (places[slot_of(chat)], chat)]
            first, last = int(of is Of.OTHERS), int(of is not Of.ASKED)
            counts = [self._read_ms, most, len(held), len(chosen) // 2, first, last]
            arguments = [*counts, *_pairs(held), *chosen, *self._reading]
            async with redis_outage():
                flat = await self._claim(keys=self._sets(held), args=arguments)
            claims = [
                Claim(chat, planned[chat] if urgency == _PLANNED else Urgency(urgency), held[slot], waited_ms / 1_000)
                for slot, chat, urgency, waited_ms in zip(
                    flat[0::4], map(ChatId, map(int, flat[1::4])), flat[2::4], flat[3::4], strict=True
                )
            ]
            self._reading.update(claim.chat for claim in claims)
            return claims

    async def finish(
        self, claims: Collection[Claim], again: Mapping[ChatId, float] = NONE_AGAIN, took_s: float = 0.0
    ) -> None:
        if not claims:
            return
        arguments = [
            part
            for claim in claims
            for part in (slot_of(claim.chat), claim.epoch, claim.chat, int(again.get(claim.chat, -0.001) * 1_000))
        ]
        try:
            async with self._turns.turn(), redis_outage():
                await self._finish(
                    keys=self._sets(slot_of(claim.chat) for claim in claims),
                    args=[self._debounce.wait_ms, int((took_s - NEW_ENOUGH_S) * 1_000), *arguments],
                )
        finally:
            # A sweep makes wanted again what Redis has not heard of.
            self._reading.difference_update(claim.chat for claim in claims)

    async def take_over(self, held: Mapping[int, int]) -> None:
        async with self._turns.turn():
            await self._restore(held)

    async def _sweep(self, held: Mapping[int, int]) -> None:
        """A claim whose answer was lost, or an end that Redis never heard of, would keep its chat from being read."""
        now = self._clock.monotonic()
        if now - self._swept >= _SWEEP_S:
            await self._restore(held)
            self._swept = now

    async def _restore(self, held: Mapping[int, int]) -> None:
        if held:
            async with redis_outage():
                await self._recover(keys=self._sets(held), args=[len(held), *_pairs(held), *self._reading])

    def _sets(self, slots: Iterable[int]) -> list[str]:
        own = self._keys.own
        sets = [own(f"{kind}:{slot}") for slot in slots for kind in ("asked", "changed", "reading")]
        return [own("leases"), *sets]


def _pairs(held: Mapping[int, int]) -> list[int]:
    return [number for pair in held.items() for number in pair]
