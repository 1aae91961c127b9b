"""The extractor's events on the `runs` topic."""

from __future__ import annotations

from chatferry.common.clock import Clock
from chatferry.common.contracts.envelope import common_headers, event_source
from chatferry.common.contracts.events import PhaseCompleted
from chatferry.common.streaming.producer import RecordProducer
from chatferry.common.streaming.records import Outgoing

_WORD = {"get": "get", "set": "import", "verify": "verify"}


class RunEvents:
    """The Events port: `<family>.get.completed`, `<family>.import.completed`."""

    def __init__(self, producer: RecordProducer, project: str, portal: str, clock: Clock) -> None:
        self._producer, self._project, self._clock = producer, project, clock
        self._source = event_source(project, portal)

    async def completed(self, event: PhaseCompleted) -> None:
        kind = f"{event.family}.{_WORD[event.phase]}.completed"
        headers = (
            ("ce_id", f"{event.run}/{event.phase}".encode()),
            ("ce_type", kind.encode()),
            ("ce_subject", event.run.encode()),
            *common_headers(self._source, self._clock.now(), None),
        )
        body = event.model_dump_json().encode()
        await self._producer.send([Outgoing(f"{self._project}.runs", event.run.encode(), body, headers)])
