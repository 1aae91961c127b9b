"""A platform with all that surrounds it while it runs."""

from dataclasses import dataclass
from random import Random

from chatferry.simulators.clock import ScaledClock
from chatferry.simulators.max.changes import Changes
from chatferry.simulators.max.faults import FaultPlan
from chatferry.simulators.max.feed import Feed
from chatferry.simulators.max.history import History
from chatferry.simulators.max.model import Platform
from chatferry.simulators.max.outbox import Outbox
from chatferry.simulators.max.paths import CHAT
from chatferry.simulators.max.script import ScriptRunner
from chatferry.simulators.max.settings import Live, Settings, changed
from chatferry.simulators.max.timetable import Timetable
from chatferry.simulators.max.traffic import Traffic
from chatferry.simulators.max.updates import Wording
from chatferry.simulators.max.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class World:
    platform: Platform
    live: Live
    clock: ScaledClock
    timetable: Timetable
    history: History
    traffic: Traffic
    outbox: Outbox
    webhooks: Webhooks
    feed: Feed
    changes: Changes
    script: ScriptRunner
    faults: FaultPlan

    def change_settings(self, changes: dict[str, object]) -> None:
        """In effect at once; raises ValueError, and changes nothing, for what cannot be."""
        self.live.now = changed(self.live.now, changes)
        self.clock.set_speed(self.live.now.speed)
        self.timetable.wake()
        if self.script.running:
            self.script.resume()

    def skip(self, seconds: float) -> None:
        """So much later at once: what is due meanwhile happens now, the script catches nothing up."""
        self.clock.skip(seconds)
        self.timetable.wake()
        if self.script.running:
            self.script.resume()


def new_world(platform: Platform, settings: Settings, seed: int | str = 1) -> World:
    """Inside a running event loop; nothing moves until the timetable and the webhooks run and the script is resumed."""

    def drawn(purpose: str) -> Random:
        return Random(f"{seed}:{purpose}")  # noqa: S311 repeatable behaviour, not secrets

    clock, live = ScaledClock(settings.speed), Live(settings)
    timetable = Timetable(clock)
    history = History(platform.chats.values(), clock)
    outbox = Outbox(live, timetable, drawn("outbox"))
    webhooks = Webhooks(live, clock, timetable, outbox.lost)
    feed = Feed(live, clock)
    outbox.connect(webhooks, feed)
    changes = Changes(platform, history, outbox, Wording(live, clock, drawn("wording")), drawn("changes"))
    return World(
        platform,
        live,
        clock,
        timetable,
        history,
        Traffic(clock, CHAT),
        outbox,
        webhooks,
        feed,
        changes,
        ScriptRunner(platform, changes, live, timetable, seed),
        FaultPlan(drawn("faults")),
    )
