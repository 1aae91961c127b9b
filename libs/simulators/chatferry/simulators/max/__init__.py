"""The MAX platform for tests, benches and demos, over HTTP, that behaves as the real one does."""

from chatferry.simulators.max import truth
from chatferry.simulators.max.changes import Changes
from chatferry.simulators.max.faults import Fault, FaultKind
from chatferry.simulators.max.generator import Size
from chatferry.simulators.max.model import BOT_ID, Chat, Kind, Status
from chatferry.simulators.max.server import Running, serve
from chatferry.simulators.max.settings import Api, Delivery, Script, Serve, Settings
from chatferry.simulators.max.world import World

__all__ = [
    "BOT_ID",
    "Api",
    "Changes",
    "Chat",
    "Delivery",
    "Fault",
    "FaultKind",
    "Kind",
    "Running",
    "Script",
    "Serve",
    "Settings",
    "Size",
    "Status",
    "World",
    "serve",
    "truth",
]
