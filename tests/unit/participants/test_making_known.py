"""A chat that MAX has and that never sent an event is made known by a call, or by the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.participants.readers import Service, entry, service
from tests.unit.participants.story import Story

from chatferry.common.errors import ConfigurationError
from chatferry.participants.adapters.links import read_links
from chatferry.participants.domain.counts import ChatId, MaxChatId
from chatferry.participants.domain.plan import Urgency
from chatferry.participants.flow.linking import keep_linked

SILENT = MaxChatId(-70_000_000_000_001)


@pytest.fixture
def story() -> Iterator[Story]:
    made = Story()
    made.max.counts[SILENT] = 17
    yield made
    made.end()


async def _put(one: Service, chat: int, max_chat: int | None) -> tuple[int, object]:
    async with one.client() as http:
        answer = await http.put(f"/chats/{chat}/max", json={"max_chat_id": max_chat})
    return answer.status_code, answer.json()


async def test_a_call_makes_a_chat_of_max_known_and_has_it_read() -> None:
    one = await service([entry(1)])
    assert await _put(one, SILENT, SILENT) == (200, {"id": SILENT, "max_chat_id": SILENT})
    assert (one.links.known, one.links.links) == ([SILENT], [])
    assert one.sources.asked == [(frozenset({ChatId(SILENT)}), Urgency.CHANGED)], "once views have seen it"


async def test_one_that_is_a_chat_of_the_portals_already_stays_that() -> None:
    one = await service([entry(1)])
    await _put(one, 1, SILENT)
    assert await _put(one, SILENT, SILENT) == (200, {"id": 1, "max_chat_id": SILENT})


@pytest.mark.parametrize(("chat", "max_chat"), [(-5, -6), (-5, None), (0, -5), (0, None)])
async def test_what_is_of_max_alone_is_no_other_chat_of_max(chat: int, max_chat: int | None) -> None:
    one = await service([entry(1)])
    status, _ = await _put(one, chat, max_chat)
    assert (status, one.links.known) == (409 if chat else 404, [])


async def test_while_mongodb_is_away_it_is_503() -> None:
    one = await service([entry(1)])
    one.links.away = True
    assert (await _put(one, SILENT, SILENT))[0] == 503


def _file(folder: Path, text: str) -> Path:
    file = folder / "links.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_line_of_the_file_with_a_max_chat_alone_is_that_chat_itself(tmp_path: Path) -> None:
    file = _file(tmp_path, f"chat_id,max_chat_id\n5,-100\n{SILENT}\n,-200\n")
    assert read_links(file) == {
        ChatId(5): MaxChatId(-100),
        ChatId(SILENT): SILENT,
        ChatId(-200): MaxChatId(-200),
    }


@pytest.mark.parametrize(
    "text", ["5\n", "-100,\n", "0\n", ",5\n", "-100,-100\n", "5,-100\n-100\n", "-1,-2,-3\n", "x\n"]
)
def test_a_line_that_says_nothing_of_that_kind_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="CHATFERRY_MAX_LINKS_FILE"):
        read_links(_file(tmp_path, text))


def test_a_chat_that_the_file_names_is_made_known_and_read(story: Story) -> None:
    task = story.begin(keep_linked({ChatId(SILENT): SILENT}, story.parts, story.clock, story.stopping))
    assert task.done()
    story.do(story.view.follow(story.catalogue))
    story.begin(story.reader.run(story.stopping))
    story.after(3)
    assert story.count(ChatId(SILENT)) == (17, "confirmed")


def test_one_that_the_file_names_and_a_call_has_linked_stays_linked(story: Story) -> None:
    portal = story.portal_chat(5, members=4)
    story.do(story.catalogue.link(portal, SILENT))
    story.begin(keep_linked({ChatId(SILENT): SILENT}, story.parts, story.clock, story.stopping))
    story.after(6)
    assert story.do(story.catalogue.by_max_chat([SILENT]))[SILENT].id == portal
