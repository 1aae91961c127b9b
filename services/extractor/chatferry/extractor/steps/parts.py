"""Everything that a driven run is made of, besides its lease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatferry.extractor.ports import (
    Backlog,
    Broker,
    Events,
    FamilyStates,
    Inventory,
    Listings,
    Portal,
    Progress,
    Records,
    Roots,
    Runs,
    Storage,
    StrangerStore,
    Tally,
)
from chatferry.extractor.steps.publisher import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """The ports of a drive. `webhooks`: owners of those that are given, in their order. `names`: the portal's host
    names, the one that answers now and those that it had before."""

    portal: Portal
    webhooks: Sequence[int]
    names: Sequence[str]
    runs: Runs
    families: FamilyStates
    records: Records
    roots: Roots
    inventory: Inventory
    listings: Listings
    strangers: StrangerStore
    publishing: Store
    broker: Broker
    progress: Progress
    tally: Tally
    storage: Storage
    backlog: Backlog
    events: Events
    project: str
