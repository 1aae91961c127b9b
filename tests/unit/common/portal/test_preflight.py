"""What the portal must answer before a family is read; a portal that answers from a script."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.unit.common.portal.portal_fakes import SECRET, Scripted, batch_answer, refused

from chatferry.common.entities import FAMILIES
from chatferry.common.portal.preflight import portal_checks

CHATS = FAMILIES["chats"]


def answers(**changes: Any) -> Any:
    """A portal where all is well but for `changes`, by label."""

    def of(label: str, command: str) -> Any:
        if label in changes:
            return changes[label]
        if command.startswith("method.get"):
            there = label != "m_im_chat_message_list"
            return {"isExisting": there, "isAvailable": there}
        return {"profile": {"ID": "1"}, "scope": ["im", "user"], "time": "2026-03-04T09:00:00+05:00"}[label]

    return lambda _, body: batch_answer(body, of)


async def test_a_portal_where_all_is_well_tells_its_offset_and_the_method() -> None:
    portal = Scripted(answers())
    view = await portal_checks(portal.client, CHATS)
    assert [(check.name, check.ok) for check in view.checks] == [("auth.cloud.chats", True)]
    assert (view.offset, view.method) == ("+05:00", "im.dialog.messages.get")
    assert len(portal.requests) == 1


async def test_the_planning_method_is_chosen_where_it_is_available() -> None:
    has = {"isExisting": True, "isAvailable": True}
    view = await portal_checks(Scripted(answers(m_im_chat_message_list=has)).client, CHATS)
    assert view.method == "im.chat.message.list"


NO_RIGHT = {"isExisting": True, "isAvailable": False}
NOWHERE = {"isExisting": False, "isAvailable": False}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scope": ["user"]}, "lacks the scope im; edit the webhook in the portal and add it"),
        ({"profile": []}, "belongs to a user who is not active; give a webhook of an active employee"),
        ({"profile": {"error": "ACCESS_DENIED"}}, "is refused even the simplest calls"),
        ({"m_im_dialog_get": NOWHERE}, "has no method im.dialog.get, which reading chats needs; update the portal"),
        ({"m_im_dialog_get": NO_RIGHT}, "may not call im.dialog.get; edit the webhook"),
    ],
)
async def test_what_is_missing_is_said_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    (check,) = (await portal_checks(Scripted(answers(**changes)).client, CHATS)).checks
    assert not check.ok
    assert words in check.detail
    assert SECRET not in check.detail


async def test_a_wrong_secret_and_a_portal_that_is_away_are_answers_and_no_errors() -> None:
    (wrong,) = (await portal_checks(Scripted(lambda *_: refused("INVALID_CREDENTIALS", 401)).client, CHATS)).checks
    assert "is not accepted" in wrong.detail
    (away,) = (await portal_checks(Scripted(lambda *_: httpx.Response(502, html="x")).client, CHATS)).checks
    assert "does not answer" in away.detail


@pytest.mark.parametrize("label", ["profile", "scope", "time", "m_im_dialog_get"])
async def test_a_call_that_fails_for_a_moment_says_nothing_about_the_portal(label: str) -> None:
    well, ill = answers(), answers(**{label: {"error": "INTERNAL_SERVER_ERROR"}})
    asked: list[Any] = []

    def answer(method: str, body: Any) -> Any:
        asked.append(body["cmd"])
        return (ill if len(asked) < 3 else well)(method, body)

    view = await portal_checks(Scripted(answer).client, CHATS)
    assert [check.ok for check in view.checks] == [True], view.checks
    assert [list(one) for one in asked[1:]] == [[label], [label]]


async def test_a_portal_that_goes_on_failing_is_not_said_to_lack_a_method() -> None:
    failing = {"error": "INTERNAL_SERVER_ERROR"}
    (check,) = (await portal_checks(Scripted(answers(m_im_dialog_get=failing)).client, CHATS)).checks
    assert not check.ok
    assert "does not say whether it has the method im.dialog.get" in check.detail


async def test_a_clock_of_the_portal_without_offset_is_taken_as_utc() -> None:
    view = await portal_checks(Scripted(answers(time="now")).client, CHATS)
    assert view.offset == "+00:00"
