"""`python -m tests.simulation --schedules 100000 --seed N`: random schedules, each replayable by its seed.

`--seed S --only` runs that one and prints what happened in it.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.plan import plan_of
from tests.simulation.runner import BrokenScheduleError, run_seeds, trace_of

_AT_ONCE = 5_000


def main() -> int:
    """Exit code 0 when every promise held."""
    parser = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=5_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the first one; the next ones follow it")
    parser.add_argument("--only", action="store_true", help="run the schedule of this seed and print it")
    given = parser.parse_args()
    if given.only:
        plan = plan_of(given.seed)
        trace = trace_of(plan)
        print(*trace, plan, sep="\n")
        broken = trace[-1].startswith("BROKEN")
        print("FAIL" if broken else "PASS", f"seed {given.seed}")
        return int(broken)
    return _run(given.seed, given.schedules)


def _run(first: int, schedules: int) -> int:
    began, busy = time.monotonic(), time.process_time()
    requests = faults = records = 0
    for start in range(first, first + schedules, _AT_ONCE):
        end = min(start + _AT_ONCE, first + schedules)
        try:
            figures = run_seeds(range(start, end))
        except BrokenScheduleError as broken:
            print(broken, file=sys.stderr)
            print(f"FAIL after {start - first} to {end - first} schedules from seed {first}")
            return 1
        requests, faults, records = (
            requests + figures.requests,
            faults + figures.faults,
            records + figures.records,
        )
        print(f"{end - first} schedules, {figures}", flush=True)
    wall, cpu = time.monotonic() - began, time.process_time() - busy
    print(
        f"PASS {schedules} schedules from seed {first}: {records} records, {requests} requests, {faults} faults, "
        f"{wall:.0f} s ({cpu:.0f} s of CPU), {schedules / wall * 60:.0f} a minute ({schedules / cpu * 60:.0f} of CPU)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
