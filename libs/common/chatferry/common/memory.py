"""How a service's process uses memory: the same whether ten thousand or ten million records pass (promise 5)."""

from __future__ import annotations

import ctypes
import gc

_NEW_OBJECTS, _YOUNGER, _YOUNG = 50_000, 5, 2
# Parameters of mallopt(3), in glibc's numbers.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_TRIM_BYTES, _MMAP_BYTES = 4 * 1024 * 1024, 1024 * 1024


def settle_memory() -> None:
    """Once, before a service's work begins and any other thread does."""
    _spare_the_collector()
    _bound_the_heap()


def _spare_the_collector() -> None:
    """Records come and go by the thousand and hold no cycles: the collector looks less often, and not at the code."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNGER, _YOUNG)


def _bound_the_heap() -> None:
    """Bodies of megabytes come and go in several threads; glibc's arenas and growing thresholds would keep their room.

    Another C library than glibc has no such settings, and no such arenas.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for parameter, value in ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _MMAP_BYTES), (_TRIM_THRESHOLD, _TRIM_BYTES)):
        mallopt(parameter, value)
