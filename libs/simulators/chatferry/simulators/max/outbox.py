"""From what happened to what is sent: lost, doubled, held back and late ones on purpose."""

from collections import Counter
from collections.abc import Callable
from itertools import count
from random import Random

import orjson

from chatferry.simulators.max.feed import Feed
from chatferry.simulators.max.settings import Live
from chatferry.simulators.max.timetable import Timetable
from chatferry.simulators.max.updates import Update
from chatferry.simulators.max.webhooks import Parcel, Webhooks

WEBHOOK_ONLY = "bot_admin_permissions_changed"


class Outbox:
    """Webhooks get all while there is a subscription, GET /updates gets all while there is none."""

    def __init__(self, live: Live, timetable: Timetable, random: Random) -> None:
        self.counts: Counter[str] = Counter()
        self._live = live
        self._timetable = timetable
        self._random = random
        self._numbers = count()
        self._held: dict[int, Callable[[], None]] = {}
        self._lost: dict[int, str] = {}

    def connect(self, webhooks: Webhooks, feed: Feed) -> None:
        """To be called once, before the first event."""
        self._webhooks, self._feed = webhooks, feed

    def emit(self, update: Update) -> None:
        rules, luck = self._live.now.delivery, self._random.random
        parcel = Parcel(next(self._numbers), update["update_type"], orjson.dumps(update))
        self.counts["events"] += 1
        if luck() < rules.drop:
            self.lost(parcel, "dropped")
            return

        def send() -> None:
            self._send(parcel, update)

        if luck() < rules.duplicate:
            self.counts["doubled"] += 1
            self._timetable.after(luck() * rules.delay_max_s, send)
        if luck() < rules.delay:
            self.counts["delayed"] += 1
            self._timetable.after(luck() * rules.delay_max_s, send)
        elif luck() < rules.reorder:
            self.counts["held_back"] += 1
            self._hold(parcel, send)
        else:
            send()
            self._release()

    def lost(self, parcel: Parcel, why: str) -> None:
        """This copy of it will not arrive."""
        self.counts[why] += 1
        self._lost[parcel.number] = parcel.update_type

    def losses(self) -> Counter[str]:
        """Events of which no copy arrived and none will unless it is on its way still, by type."""
        arrived = self._webhooks.arrived
        return Counter(update_type for number, update_type in self._lost.items() if number not in arrived)

    def _hold(self, parcel: Parcel, send: Callable[[], None]) -> None:
        self._held[parcel.number] = send
        self._timetable.after(self._live.now.delivery.hold_max_s, lambda: self._let_go(parcel.number))

    def _release(self) -> None:
        for number in list(self._held):
            self._let_go(number)

    def _let_go(self, number: int) -> None:
        send = self._held.pop(number, None)
        if send is not None:
            send()

    def _send(self, parcel: Parcel, update: Update) -> None:
        if self._webhooks.active:
            self._webhooks.deliver(parcel)
        elif parcel.update_type != WEBHOOK_ONLY or self._live.now.api.permissions_by_polling:
            self._feed.append(update)
