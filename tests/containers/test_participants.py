"""Participant counts in the compose stack: of the portal's chats, and of a simulated MAX platform's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.containers.compose import ComposeStack, compose_stack
from tests.containers.session import Json

from chatferry.stack.process import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3_000)]
_MAX_CHATS, _END_S = 30, 600.0


@dataclass
class Counting:
    """The stack, and a reader's way in."""

    stack: ComposeStack
    reader: httpx.Client

    def chats(self) -> dict[int, Json]:
        """All of them by id; empty while nobody answers."""
        try:
            answer = self.reader.get("/chats/all", params={"limit": 200})
        except httpx.TransportError:
            return {}
        return {chat["id"]: chat for chat in answer.raise_for_status().json()["chats"]}

    def states(self) -> set[str]:
        return {chat["participants_count_state"] for chat in self.chats().values()}


@pytest.fixture
def counting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Counting]:
    if not request.config.getoption("--compose"):
        pytest.skip("needs a Docker engine; --compose runs it, make test-docker looks for one")
    port = free_port()
    more = {
        "COMPOSE_PROFILES": "demo,participants,max",
        "CHATFERRY_PARTICIPANTS_PORT": str(port),
        "CHATFERRY_MAX_URL": "http://max:8080",
        "CHATFERRY_MAX_WEBHOOK_URL": "http://participants:8080",
        "CHATFERRY_DEMO_MAX_CHATS": str(_MAX_CHATS),
        "CHATFERRY_DEMO_MAX_CHANGES": "20",
    }
    with compose_stack(tmp_path, more) as stack:
        shown = ("--rm", "--no-deps", "--no-TTY", "--entrypoint", "cat")
        key = stack.docker("compose", "run", *shown, "operator", "/run/chatferry/participants.keys").strip()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-Api-Key": key}) as reader:
            yield Counting(stack, reader)


def test_counts_of_max_follow_its_events_and_the_portals_chats_are_there_with_their_members(counting: Counting) -> None:
    assert httpx.get(f"{counting.reader.base_url}/chats/all").status_code == httpx.codes.UNAUTHORIZED
    counting.stack.until(
        lambda: counting.chats() and counting.states() <= {"fresh", "provisional"}, "counts of MAX", 60
    )
    before = {chat: found["participants_count"] for chat, found in counting.chats().items()}
    assert all(chat < 0 for chat in before)
    counting.stack.until(
        lambda: any(
            chat in before and found["participants_count"] != before[chat] for chat, found in counting.chats().items()
        ),
        "a count moves",
        60,
    )
    for family in ("users", "chats"):
        said, _ = (run := counting.stack.operator("migrate", family)).communicate(timeout=_END_S)
        assert run.returncode == 0, said
    members = {row["seq"]: len(row["payload"]["participant_ids"]) for row in counting.stack.database.chats.find({})}
    assert members

    def counted() -> bool:
        static = {chat: one["participants_count"] for chat, one in counting.chats().items() if chat > 0}
        return static == members

    counting.stack.until(counted, "the portal's chats are there with their members", 60)
