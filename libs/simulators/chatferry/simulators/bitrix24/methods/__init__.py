"""The REST methods of the portal, by name."""

from collections.abc import Mapping

from chatferry.simulators.bitrix24.methods import basic, dialogs, members, messages, recent, users
from chatferry.simulators.bitrix24.methods.call import Method
from chatferry.simulators.bitrix24.settings import Quirks

__all__ = ["all_methods"]


def all_methods(quirks: Quirks) -> Mapping[str, Method]:
    """Every method of the portal but `batch`, by its lower-case name."""
    return {
        **basic.methods(),
        **users.methods(),
        **recent.methods(),
        **dialogs.methods(),
        **members.methods(),
        **messages.methods(quirks),
    }
