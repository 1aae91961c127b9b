"""What tests of an absent Redis share."""

from __future__ import annotations

import asyncio
import time

from tests.contract.participants.redis_ports import Replica

from chatferry.common.errors import OutageError
from chatferry.participants.adapters.local_work import LeaseRules

GRACE = LeaseRules(read_s=0.3, lease_s=2.0, grace_s=1.5)


async def until_back(replica: Replica) -> None:
    """Redis answers this client again: no dead connection is left in it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            await replica.quick.attempt(replica.quick.probe)
        except OutageError:
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("Redis does not come back")
