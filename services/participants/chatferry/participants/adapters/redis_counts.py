"""The counts that all replicas share, in Redis: a value for anybody, and beside it how it came about."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from redis.asyncio import Redis

from chatferry.participants.adapters.redis_base import NOW_LUA, QUICK_S, Keys, redis_outage
from chatferry.participants.domain.counts import RANKS, ChatId, Count, Mark, Stamp
from chatferry.participants.domain.updates import MOVING, Update

_STATE_MS = 7 * 86_400_000
"""The state outlives the value: a late answer of an old read is refused after it has expired, too."""
_HINT_MS = 9 * 3_600_000
"""MAX sends an event again for seven hours (reference: max-bot-api.md §3)."""
_MARKS = {mark.value.encode(): mark for mark in Mark}

# A value that went before its time was deleted: it is not known any more. One whose time is over says so by its stamp.
_LOAD = f"""{NOW_LUA}
local ttl, n, out = tonumber(ARGV[1]), #KEYS / 2, {{}}
for i = 1, n do
  local s = redis.call('HMGET', KEYS[n + i], 'count', 'mark', 'epoch', 'started', 'told', 'moves')
  if s[1] and (redis.call('EXISTS', KEYS[i]) == 1 or now - s[4] >= ttl) then
    out[i] = s[1] .. ' ' .. s[2] .. ' ' .. s[3] .. ' ' .. s[4] .. ' ' .. (s[5] or '-') .. ' ' .. (s[6] or '0')
  else
    out[i] = false
  end
end
return out
"""
# `order`: -1, 0 or 1: what is `known` (nil, or epoch, started, mark and moves) is older than what is new, as old, or
# newer (`Count.order`). Numbers of 53 bits are exact in Lua.
_PUT = """
local ranks = {RANKS}
local function put(value, state, new, json, ttl)
  redis.call('HSET', state, 'count', new[1], 'mark', new[2], 'epoch', new[3], 'started', new[4], 'at', new[5],
    'told', new[6], 'moves', new[7])
  redis.call('PEXPIRE', state, STATE_MS)
  if ttl > 0 then redis.call('SET', value, json, 'PX', ttl) else redis.call('DEL', value) end
end
local function order(known, epoch, started, mark, moves)
  if not known[1] then return -1 end
  local here = {tonumber(known[1]), tonumber(known[2]), ranks[known[3]], tonumber(known[4] or '0')}
  for i, new in ipairs({tonumber(epoch), tonumber(started), ranks[mark], tonumber(moves)}) do
    if here[i] ~= new then return here[i] < new and -1 or 1 end
  end
  return 0
end
""".replace("STATE_MS", str(_STATE_MS)).replace("RANKS", ", ".join(f"{mark} = {rank}" for mark, rank in RANKS.items()))
# ARGV: for each chat count, mark, epoch, started, updated_at, told (-: as started), moves, JSON, and the value's time
# to live from the read on.
# `ARGV[1]`: 1 when that time runs since the read, 0 when it runs from now.
_WRITE = f"""{NOW_LUA}{_PUT}
local out, n = {{}}, #KEYS / 2
for i = 1, n do
  local at, new = 1 + (i - 1) * 9, {{}}
  for j = 1, 7 do new[j] = ARGV[at + j] end
  local known = redis.call('HMGET', KEYS[n + i], 'epoch', 'started', 'mark', 'moves')
  out[i] = 0
  if order(known, new[3], new[4], new[2], new[7]) < 0 then
    local ttl = tonumber(ARGV[at + 9])
    if ARGV[1] == '1' then ttl = math.min(ttl, ttl - (now - tonumber(new[4]))) end
    put(KEYS[i], KEYS[n + i], new, ARGV[at + 8], math.floor(ttl))
    out[i] = 1
  end
end
return out
"""
# KEYS: value, state, the event's. ARGV: delta (0: the bot was put out, which freezes), event's time, then what the
# caller knows: count, mark, epoch, started, updated_at, told, moves; then the value's time to live. A value that is
# there keeps its own.
_HINT = f"""{NOW_LUA}{_PUT}
if redis.call('EXISTS', KEYS[3]) == 1 then return false end
local k = redis.call('HMGET', KEYS[2], 'count', 'mark', 'epoch', 'started', 'at', 'told', 'moves')
if order({{k[3], k[4], k[2], k[7]}}, ARGV[5], ARGV[6], ARGV[4], ARGV[9]) < 0 then
  k = {{ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]}}
end
k[6], k[7] = k[6] or '-', string.format('%.0f', tonumber(k[7] or '0') + 1)
if tonumber(ARGV[2]) <= tonumber(k[4]) then return false end
local delta = tonumber(ARGV[1])
if delta ~= 0 and k[2] ~= 'confirmed' and k[2] ~= 'provisional' then return false end
redis.call('SET', KEYS[3], '1', 'PX', {_HINT_MS})
k[1] = string.format('%.0f', math.max(0, tonumber(k[1]) + delta))
k[2] = delta == 0 and 'frozen' or 'provisional'
local ttl = redis.call('PTTL', KEYS[1])
if ttl < 0 then ttl = tonumber(ARGV[10]) - (now - tonumber(k[4])) end
local at = k[5] == '' and 'null' or '"' .. k[5] .. '"'
put(KEYS[1], KEYS[2], k, '{{"count":' .. k[1] .. ',"updated_at":' .. at .. '}}', math.floor(ttl))
return k[1] .. ' ' .. k[2] .. ' ' .. k[3] .. ' ' .. k[4] .. ' ' .. k[6] .. ' ' .. k[7]
"""


class RedisCounts:
    """Port Counts. `quick_s`: longest wait where a reader waits too."""

    def __init__(self, redis: Redis, keys: Keys, ttl_s: float, rng: random.Random, quick_s: float = QUICK_S) -> None:
        self._keys, self._ttl_ms, self._rng, self._quick_s = keys, int(ttl_s * 1_000), rng, quick_s
        self._redis = redis
        self._load = redis.register_script(_LOAD)
        self._write = redis.register_script(_WRITE)
        self._hint = redis.register_script(_HINT)

    async def load(self, chats: Sequence[ChatId]) -> dict[ChatId, Count]:
        if not chats:
            return {}
        async with redis_outage(self._quick_s):
            rows = await self._load(keys=self._of(chats), args=[self._ttl_ms])
        return {chat: _count(row) for chat, row in zip(chats, rows, strict=True) if row is not None}

    async def write(self, chat: ChatId, count: Count) -> bool:
        # Up to a tenth more, so that what was written together does not expire together.
        ttl_ms = int(self._ttl_ms * (1 + 0.1 * self._rng.random()))
        async with redis_outage():
            [written] = await self._write(keys=self._of([chat]), args=["0", *_arguments(count, ttl_ms)])
        return bool(written)

    async def restore(self, counts: Sequence[tuple[ChatId, Count]]) -> None:
        """Write back what was known while Redis was away: with its own stamps, and for what is left of its time."""
        arguments = [argument for _, count in counts for argument in _arguments(count, self._ttl_ms)]
        if counts:
            async with redis_outage():
                await self._write(keys=self._of([chat for chat, _ in counts]), args=["1", *arguments])

    async def hint(self, chat: ChatId, known: Count, update: Update) -> Count | None:
        if update.effect not in MOVING:
            return None
        identity = self._keys.own(f"event:{chat}:{update.identity}")
        *count, _, ttl_ms = _arguments(known, self._ttl_ms)
        async with redis_outage():
            moved = await self._hint(
                keys=[*self._of([chat]), identity],
                args=[update.delta, update.at_ms, *count, ttl_ms],
            )
        return None if moved is None else _count(moved)

    async def forget(self, chats: Collection[ChatId]) -> None:
        if chats:
            async with redis_outage(self._quick_s):
                await self._redis.delete(*self._of(list(chats)))

    def _of(self, chats: Sequence[ChatId]) -> list[str]:
        return [*(self._keys.value(chat) for chat in chats), *(self._keys.own(f"state:{chat}") for chat in chats)]


def _arguments(count: Count, ttl_ms: int) -> list[Any]:
    at = ""
    if count.updated_at_ms is not None:
        at = datetime.fromtimestamp(count.updated_at_ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    json = orjson.dumps({"count": count.count, "updated_at": at or None})
    told = "-" if count.told_ms is None else count.told_ms
    return [count.count, count.mark.value, *count.stamp, at, told, count.moves, json, ttl_ms]


def _count(row: bytes) -> Count:
    count, mark, epoch, started, told, moves = row.split()
    told_ms = None if told == b"-" else int(told)
    return Count(int(count), _MARKS[mark], Stamp(int(epoch), int(started)), told_ms, int(moves))
