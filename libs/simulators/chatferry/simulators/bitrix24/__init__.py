"""A Bitrix24 portal for tests, benches and demos, over HTTP and HTTPS, that behaves as the real one does."""

from chatferry.simulators.bitrix24.errors import PortalDataError
from chatferry.simulators.bitrix24.faults import Fault, FaultKind
from chatferry.simulators.bitrix24.generator import GeneratorSettings, generate
from chatferry.simulators.bitrix24.loader import load_folder
from chatferry.simulators.bitrix24.model import Portal, Webhook
from chatferry.simulators.bitrix24.server import Running, new_webhook, serve
from chatferry.simulators.bitrix24.settings import PortalSettings, Quirks, RateBucket, ServeSettings
from chatferry.simulators.bitrix24.writer import OddData

__all__ = [
    "Fault",
    "FaultKind",
    "GeneratorSettings",
    "OddData",
    "Portal",
    "PortalDataError",
    "PortalSettings",
    "Quirks",
    "RateBucket",
    "Running",
    "ServeSettings",
    "Webhook",
    "generate",
    "load_folder",
    "new_webhook",
    "serve",
]
