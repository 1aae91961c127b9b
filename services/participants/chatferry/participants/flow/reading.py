"""What is read: the chats of the slots that this replica holds, the most urgent first, within the shared budget."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from chatferry.common.clock import Clock
from chatferry.common.errors import OutageError
from chatferry.common.telemetry.logs import get_logger
from chatferry.participants.domain.catalogue import Entry, slot_of
from chatferry.participants.domain.counts import Answer, ChatId, Count, MaxChatId, Stamp, Verdict, of_answer
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.flow.failures import FIRST_AGAIN_S, Failing, Rest
from chatferry.participants.flow.parts import Held, Parts, learn
from chatferry.participants.flow.planning import Planner
from chatferry.participants.flow.sharing import Share
from chatferry.participants.ports import Claim, Grant, LateLeaveError, MaxBusyError, MaxRefusedError, Of, Ready, Told

log = get_logger(__name__)
_KEEP_EVERY_S = 2.0
_IDLE_S = 0.1
# Claims that nobody waits for and that wait for the budget's leave: so few that they are still the most urgent then.
_AHEAD = 10
# One of them gives its chat back when leave comes later than this: a reader may ask for it meanwhile, and goes first.
_FAR_S = 1.0
_REFUSED_REST_S = 30.0
# Of a call's time, for leave that is taken anew when it is about to be sent.
_LATEST_S = 1.0
_RIGHTS_MAY_HAVE_COME = (Urgency.NIGHTLY, Urgency.CHANGED)


@dataclass(slots=True)
class Reader:
    """One replica's reads, `most` at a time. Its work ends when it is cancelled; claims are given back then."""

    parts: Parts
    planner: Planner
    clock: Clock
    most: int
    held: Held = field(default_factory=dict)
    _reads: set[asyncio.Task[None]] = field(default_factory=set)
    _rest: Rest = field(default_factory=Rest)
    _failing: Failing = field(default_factory=Failing)
    _share: Share = field(default_factory=Share)
    _kept_at: float = float("-inf")
    _held_until: float = float("-inf")
    _ahead: set[ChatId] = field(default_factory=set)
    _begun: dict[ChatId, float] = field(default_factory=dict)

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set; then what is under way is finished and the slots are given back. After an
        OutageError they are kept: whoever begins this anew goes on with them, also where Redis could not give them."""
        outage = False
        try:
            while not stopping.is_set():
                begun = await self._round()
                if not begun:
                    await self.clock.sleep(_IDLE_S)
        except OutageError:
            outage = True
            raise
        finally:
            ends = await asyncio.gather(*self._reads, return_exceptions=True)
            # One outage that several have met is one.
            self._reads = {
                task
                for task, end in zip(self._reads, ends, strict=True)
                if isinstance(end, Exception) and not isinstance(end, OutageError)
            }
            if not outage or stopping.is_set():
                await self.parts.slots.leave()

    async def _round(self) -> int:
        """Begin what can be begun now; how many reads were."""
        now = self.clock.monotonic()
        if now - self._kept_at >= _KEEP_EVERY_S:
            await self._keep_slots()
            self._kept_at = now
        self._pass_on_failures()
        room = self._room(now)
        if room <= 0 or not self.held:
            return 0
        claims = await self._claims(room, now)
        for claim in claims:
            task = asyncio.create_task(self._read(claim), name="read of a chat")
            self._reads.add(task)
            if claim.urgency is not Urgency.ASKED:
                self._ahead.add(claim.chat)
        return len(claims)

    async def _claims(self, room: int, now: float) -> list[Claim]:
        wanted, room_ahead = self.parts.wanted, min(room, _AHEAD - len(self._ahead))
        if room_ahead <= 0:
            return await wanted.claim(self.held, {}, room, of=Of.ASKED)
        claims = list[Claim]()
        owed = min(room_ahead, self._share.places)
        if owed > 0:
            claims += await wanted.claim(self.held, await self._planned(owed, now), owed, of=Of.OTHERS)
        if len(claims) < room_ahead:
            left = room_ahead - len(claims)
            # What is planned and not claimed is planned no more until the next look.
            planned = {} if self._share.crowded else await self._planned(left, now)
            claims += await wanted.claim(self.held, planned, left)
        asked = sum(claim.urgency is Urgency.ASKED for claim in claims)
        self._share.claimed(asked, len(claims) - asked, crowded=asked > 0 and len(claims) == room_ahead)
        return claims

    async def _planned(self, most: int, now: float) -> dict[ChatId, Urgency]:
        due = await self.planner.planned(self.held, self.clock, most)
        # While MAX is away whichever is due serves to look for it.
        looking = self._rest.looking
        return {chat: why for chat, why in due if looking or not self._failing.left_alone(chat, now)}

    async def _keep_slots(self) -> None:
        before, kept = self.held, await self.parts.slots.keep()
        self.held, self._held_until = kept.slots, kept.until
        taken = {slot: epoch for slot, epoch in self.held.items() if before.get(slot) != epoch}
        if taken:
            await self.parts.wanted.take_over(taken)

    def _room(self, now: float) -> int:
        if now < self._rest.until:
            return 0
        if self._rest.looking:
            return 1 - len(self._reads)
        return self.most - len(self._reads)

    def _pass_on_failures(self) -> None:
        for task in [task for task in self._reads if task.done()]:
            self._reads.discard(task)
            task.result()

    async def _read(self, claim: Claim) -> None:
        due, again = self._wanted_since(claim), {claim.chat: FIRST_AGAIN_S}
        try:
            entry = self.parts.chats.entry(claim.chat)
            wait_s = None
            if entry is not None and entry.max_chat is not None:
                wait_s = await self._brought(claim, entry, entry.max_chat, due)
            again = {} if wait_s is None else {claim.chat: wait_s}
        finally:
            self._ahead.discard(claim.chat)
            now = self.clock.monotonic()
            if again:
                self._failing.to_be_tried(claim.chat, due, now + again[claim.chat])
            else:
                self._failing.ended(claim.chat)
            await self.parts.wanted.finish([claim], again, now - self._begun.pop(claim.chat, now))

    async def _brought(self, claim: Claim, entry: Entry, max_chat: MaxChatId, due: float) -> float | None:
        """None when the read has had its answer, else after how long the chat is to be read again."""
        grant = await self._leave(claim, patient=claim.urgency is Urgency.ASKED)
        if grant is None:
            return FIRST_AGAIN_S
        self._begun[claim.chat] = self.clock.monotonic()
        if self.held.get(slot_of(claim.chat)) != claim.epoch or self.clock.monotonic() > self._held_until:
            return FIRST_AGAIN_S
        try:
            answer = await self._asked(max_chat, _kind(claim, entry), self._ready(claim, grant))
        except LateLeaveError:
            return FIRST_AGAIN_S
        except OutageError as away:
            if away.part != "max":
                raise
            self._failed(away)
            # Where MAX asks everybody to wait it is no fault of the chat's.
            everybody = away.retry_after_s is not None or isinstance(away.__cause__, MaxBusyError)
            return FIRST_AGAIN_S if everybody else self._again_s(claim)
        self._answered()
        if not await self._write_down(claim, entry, answer, grant, None) and await self._clock_went_back(claim):
            return self._again_s(claim)
        changed = entry.counted is not None and answer.count is not None and answer.count != entry.count.count
        took_s, foreseen = self.clock.monotonic() - due, claim.urgency is Urgency.CHANGED
        self.parts.watch.read(took_s, changed=changed, why=self.planner.trust.why(claim.urgency, entry))
        missed = changed and not foreseen and self.planner.trust.of(entry)
        await self._note_rights(claim, entry, grant, missed=missed)
        return None

    def _wanted_since(self, claim: Claim) -> float:
        now = self.clock.monotonic()
        if claim.urgency is Urgency.TOP:
            # The other passes take as long as there are chats, and are not late for that.
            chosen = self.planner.chosen_since(claim.chat)
            since = now if chosen is None else chosen
        else:
            since = now - claim.waited_s
        return self._failing.wanted_since(claim.chat, since)

    async def _clock_went_back(self, claim: Claim) -> bool:
        """Whether what is there was written by ourselves: by the order of starts we have only just read it."""
        known = (await self.parts.counts.load([claim.chat])).get(claim.chat)
        return known is not None and known.stamp.epoch == claim.epoch

    def _again_s(self, claim: Claim) -> float:
        return self._failing.failed(claim.chat, self.clock.monotonic())

    async def _note_rights(self, claim: Claim, entry: Entry, grant: Grant, *, missed: bool) -> None:
        """`missed`: an event should have told what this read has found."""
        trusted = await self._rights(claim, entry, missed=missed)
        if trusted is not None:
            await self._noted(claim.chat, Told(trusted=trusted, at_ms=grant.now_ms, max_chat=entry.max_chat))

    async def _noted(self, chat: ChatId, told: Told) -> bool:
        """False: it is another chat of MAX by now."""
        before, noted = self.parts.chats.entry(chat), await self.parts.catalogue.note(chat, told)
        if noted is not None:
            learn(self.parts.chats, before, noted)
        return noted is not None

    def _ready(self, claim: Claim, grant: Grant) -> Ready:
        """Leave that has gone by meanwhile (a connection was made first, or the loop was busy) is taken anew."""
        late = self.clock.monotonic() + _LATEST_S

        async def ready() -> None:
            until = grant.until
            while (now := self.clock.monotonic()) > until:
                anew = await self.parts.budget.take(claim.urgency)
                until = anew.until if anew.wait_s <= 0 else float("-inf")
                if now + anew.wait_s > late:
                    raise LateLeaveError
                await self.clock.sleep(anew.wait_s)

        return ready

    async def _asked(self, max_chat: MaxChatId, kind: str, ready: Ready) -> Answer:
        try:
            self.parts.watch.called(kind)
            return await self.parts.max.chat(max_chat, ready)
        except MaxBusyError as busy:
            await self.parts.budget.refused(busy.retry_after_s)
            raise OutageError("max", "MAX answers that we ask too often; we go on more slowly") from busy
        except MaxRefusedError:
            sentence = "MAX refuses the bot's token: give a valid one in CHATFERRY_MAX_TOKEN"
            raise OutageError("max", sentence, retry_after_s=_REFUSED_REST_S) from None

    async def _rights(self, claim: Claim, entry: Entry, *, missed: bool) -> bool | None:
        """Whether the bot is told of this chat's changes, asked when nobody has said, or that may have changed."""
        # A new chat's first read may be the plan's: what an event wanted is not wanted any more then.
        may_have_come = entry.counted is None or claim.urgency in _RIGHTS_MAY_HAVE_COME
        doubtful = missed or entry.trusted is None or (not entry.trusted and may_have_come)
        if not doubtful or not self.planner.trust.events_on or entry.max_chat is None:
            return None
        leave = await self._leave(claim, patient=True)
        assert leave is not None
        self.parts.watch.called("membership")
        try:
            membership = await self.parts.max.membership(entry.max_chat, self._ready(claim, leave))
        except LateLeaveError:
            return None
        except MaxBusyError as busy:
            await self.parts.budget.refused(busy.retry_after_s)
            return None
        except MaxRefusedError:
            return None
        except OutageError as away:
            if away.part != "max":
                raise
            return None
        return False if membership is None else membership.trusted

    async def _write_down(self, claim: Claim, entry: Entry, answer: Answer, grant: Grant, trusted: bool | None) -> bool:
        """Whether it is written: neither what a later read has brought is there, nor is it another chat of MAX now."""
        known = entry.count if answer.verdict is Verdict.COUNTED else await self._known_last(entry)
        stamp = Stamp(claim.epoch, grant.now_ms)
        count = of_answer(answer, known, stamp)
        title = answer.title if entry.id < 0 else None
        told = Told(count, title, answer.last_event_ms, trusted, grant.now_ms, entry.max_chat)
        # First where it shows whether it is that chat of MAX still: a link's own wish may have ended with this read.
        ours = await self._noted(claim.chat, told)
        if not ours:
            await self.parts.wanted.ask([claim.chat], Urgency.CHANGED)
        written = ours and await self.parts.counts.write(claim.chat, count)
        await self.parts.waiting.tell({claim.chat: stamp.started_ms})
        return written

    async def _known_last(self, entry: Entry) -> Count:
        """What stays where MAX tells nothing any more: of the cache and the catalogue, as they are now, the newer."""
        cached = (await self.parts.counts.load([entry.id])).get(entry.id)
        now = await self.parts.linked.by_max_chat([] if entry.max_chat is None else [entry.max_chat])
        kept = next((one.count for one in now.values() if one.id == entry.id), entry.count)
        # As long as no read of a linked chat is noted, what is cached may be of the chat of MAX that it was before.
        anothers = entry.id > 0 and kept.stamp.epoch == 0
        return kept if cached is None or anothers or cached.order < kept.order else cached

    async def _leave(self, claim: Claim, *, patient: bool) -> Grant | None:
        """None when leave is far and whoever takes it is not `patient`."""
        if claim.urgency is not Urgency.ASKED:
            self._ahead.add(claim.chat)
        try:
            while True:
                urgency = self._share.leave_as(claim.urgency)
                grant = await self.parts.budget.take(urgency)
                if grant.wait_s <= 0:
                    self._share.left(claim.urgency, urgency)
                    if self.clock.monotonic() <= grant.until:
                        return grant
                if grant.wait_s > _FAR_S and not patient:
                    await self.clock.sleep(_FAR_S)
                    return None
                await self.clock.sleep(grant.wait_s)
        finally:
            self._ahead.discard(claim.chat)

    def _answered(self) -> None:
        if self._rest.looking:
            self._failing.try_all_soon(self.clock.monotonic())
        self._rest.answered()
        self.parts.watch.max_away(None)

    def _failed(self, away: OutageError) -> None:
        now = self.clock.monotonic()
        self._rest.failed(now, at_once=away.retry_after_s)
        if self._rest.until > now:
            self.parts.watch.max_away(away.sentence)


def _kind(claim: Claim, entry: Entry) -> str:
    """Of a chat that is known to be lost a refusal is no news; while that is not sure, it is."""
    return "lost" if entry.lost and claim.urgency is not Urgency.SAFETY else "chat"
