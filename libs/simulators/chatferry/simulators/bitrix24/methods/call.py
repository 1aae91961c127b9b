"""What a method is given and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chatferry.simulators.bitrix24.envelope import Stamp
from chatferry.simulators.bitrix24.model import Portal, User
from chatferry.simulators.bitrix24.params import Params
from chatferry.simulators.bitrix24.render import UserJson
from chatferry.simulators.bitrix24.settings import Quirks
from chatferry.simulators.bitrix24.visibility import View


@dataclass(frozen=True, slots=True)
class Context:
    """What all calls of a portal share."""

    portal: Portal
    quirks: Quirks
    users: UserJson
    stamp: Stamp
    scopes_of: Mapping[str, tuple[str, ...]]
    """Method name to the scopes of which a webhook needs one; none needed: empty."""


@dataclass(frozen=True, slots=True)
class Call:
    context: Context
    view: View
    params: Params
    now: float

    @property
    def portal(self) -> Portal:
        return self.context.portal

    @property
    def owner(self) -> User:
        return self.context.portal.users[self.view.webhook.user_id]


@dataclass(frozen=True, slots=True)
class Reply:
    """`body`: JSON of `result`; `next` and `total` as in the envelope, None: left out."""

    body: bytes
    next: int | None = None
    total: int | None = None
    parts: Mapping[str, list[bytes]] = field(default_factory=dict)
    """Lists inside the result, element by element, so that a reference need not decode the whole."""


@dataclass(frozen=True, slots=True)
class Method:
    run: Callable[[Call], Reply]
    scopes: tuple[str, ...] = ()


def has_scope(needed: tuple[str, ...], granted: tuple[str, ...]) -> bool:
    return not needed or any(scope in granted for scope in needed)
