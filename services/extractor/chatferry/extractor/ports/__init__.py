"""What the extractor needs from the outside, by subject."""

from __future__ import annotations

from chatferry.extractor.ports.inventory import (
    Inventory,
    Listings,
    Lost,
    PageEntry,
    Roots,
    Row,
    Stranger,
    StrangerStore,
    WalkUpdate,
)
from chatferry.extractor.ports.publishing import (
    Backlog,
    Broker,
    Chunk,
    Due,
    DueParents,
    Letters,
    Outbox,
    Place,
    Published,
    Told,
    Unsent,
)
from chatferry.extractor.ports.reading import Portal
from chatferry.extractor.ports.records import Records, Saved
from chatferry.extractor.ports.runs import (
    Events,
    FamilyStates,
    Lease,
    Leases,
    Progress,
    RunDocument,
    Runs,
    Storage,
    Tally,
    Waiting,
)

__all__ = [
    "Backlog",
    "Broker",
    "Chunk",
    "Due",
    "DueParents",
    "Events",
    "FamilyStates",
    "Inventory",
    "Lease",
    "Leases",
    "Letters",
    "Listings",
    "Lost",
    "Outbox",
    "PageEntry",
    "Place",
    "Portal",
    "Progress",
    "Published",
    "Records",
    "Roots",
    "Row",
    "RunDocument",
    "Runs",
    "Saved",
    "Storage",
    "Stranger",
    "StrangerStore",
    "Tally",
    "Told",
    "Unsent",
    "Waiting",
    "WalkUpdate",
]
