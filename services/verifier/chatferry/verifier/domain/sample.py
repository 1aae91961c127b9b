"""A sample that depends on the seed and the keys alone, not on the order in which they were met."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from hashlib import blake2b


class Sample:
    """The `size` keys whose seeded hashes are the smallest of all keys offered; repeats are free."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._secret = str(seed).encode()[:64]
        self._heap: list[tuple[int, str]] = []
        self._keys: set[str] = set()
        self._bound = 0

    def offer(self, key: str) -> bool:
        """One more key of the population; whether it is in the sample, for now."""
        place = int.from_bytes(blake2b(key.encode(), digest_size=8, key=self._secret).digest(), "big")
        if (len(self._heap) >= self.size and place >= self._bound) or key in self._keys:
            return key in self._keys
        if len(self._heap) < self.size:
            heapq.heappush(self._heap, (-place, key))
        else:
            _, dropped = heapq.heapreplace(self._heap, (-place, key))
            self._keys.discard(dropped)
        self._keys.add(key)
        self._bound = -self._heap[0][0]
        return True

    def keys(self) -> list[str]:
        """The sample, in the order of the keys."""
        return sorted(self._keys)

    def among(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that are in the sample now."""
        return [key for key in keys if key in self._keys]
