"""The extractor's events on the `runs` topic."""

from __future__ import annotations

from chatferry.common.clock import Clock
from chatferry.common.contracts.envelope import common_headers, event_source
from chatferry.common.contracts.events import PhaseCompleted, RunProgress
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing

_WORD = {"get": "get", "set": "import", "verify": "verify"}


class RunEvents:
    """The Events port: `<family>.get.completed`, `<family>.import.completed`, `run.progress`."""

    def __init__(self, producer: RecordProducer, project: str, portal: str, clock: Clock) -> None:
        self._producer, self._project, self._clock = producer, project, clock
        self._source = event_source(project, portal)

    async def completed(self, event: PhaseCompleted) -> None:
        kind = f"{event.family}.{_WORD[event.phase]}.completed"
        await self._send(kind, f"{event.run}/{event.phase}", event)

    async def progress(self, event: RunProgress) -> None:
        await self._send("run.progress", f"{event.run}/progress/{event.at:%Y%m%dT%H%M%S.%f}", event)

    async def _send(self, kind: str, ce_id: str, event: PhaseCompleted | RunProgress) -> None:
        headers = (
            ("ce_id", ce_id.encode()),
            ("ce_type", kind.encode()),
            ("ce_subject", event.run.encode()),
            *common_headers(self._source, self._clock.now(), None),
        )
        body = event.model_dump_json().encode()
        await self._producer.send([Outgoing(f"{self._project}.runs", event.run.encode(), body, headers)])
