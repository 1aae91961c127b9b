"""Each refusal told apart, retried where that helps; a portal that answers from a script."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from tests.unit.bodies import trickling
from tests.unit.common.portal.portal_fakes import SECRET, Scripted, batch_answer, ok, refused

from chatferry.common.entities.reading import Command, Refusal
from chatferry.common.errors import BlockedError, OutageError
from chatferry.common.portal.client import LARGEST_ANSWER, PortalSettings
from chatferry.common.portal.operating import Measured

COMMANDS = [Command(f"c{n}", "im.dialog.get", {"DIALOG_ID": f"chat{n}"}) for n in range(4)]


async def test_a_batch_gives_one_answer_a_command_in_their_order() -> None:
    portal = Scripted(lambda _, body: batch_answer(body, lambda label, _: {"id": label}))
    answers = await portal.client.batch(1, COMMANDS)
    assert [answer.result["id"] for answer in answers] == ["c0", "c1", "c2", "c3"]
    assert portal.bucket.taken == 1
    assert portal.requests[0][1]["halt"] == 0


async def test_an_answer_that_trickles_without_end_is_none() -> None:
    portal = Scripted(lambda *_: httpx.Response(200, content=trickling()))
    client = portal.client.with_settings(PortalSettings(timeout_s=0.05, attempts_s=(0.0, 1.0)))
    async with asyncio.timeout(10):
        with pytest.raises(OutageError):
            await client.call(1, "profile")
    assert len(portal.requests) == 2


async def test_refused_commands_keep_their_code_and_others_their_result() -> None:
    def of(label: str, _: str) -> Any:
        return {"c0": {"error": "ACCESS_ERROR"}, "c1": {"error": "INTERNAL_SERVER_ERROR"}, "c2": {"id": 2}}.get(label)

    answers = await Scripted(lambda _, body: batch_answer(body, of)).client.batch(1, COMMANDS)
    refusals = [answer.refusal for answer in answers]
    assert [refusal and (refusal.code, refusal.transient) for refusal in refusals] == [
        ("ACCESS_ERROR", False),
        ("INTERNAL_SERVER_ERROR", True),
        None,
        ("portal.no_answer", True),
    ]


async def test_a_full_bucket_is_no_failure_it_is_filled_and_asked_again() -> None:
    answers = iter([refused("QUERY_LIMIT_EXCEEDED", 503), refused("QUERY_LIMIT_EXCEEDED", 503), ok("x")])
    portal = Scripted(lambda *_: next(answers))
    assert (await portal.client.call(1, "profile")).result == "x"
    assert (portal.bucket.filled, portal.bucket.taken, portal.clock.slept) == (2, 3, [])


@pytest.mark.parametrize(
    "nothing",
    [
        httpx.Response(502, html="<html>Bad Gateway</html>"),
        httpx.Response(200, content=b'{"result": {"result'),
        httpx.Response(200, json=[1]),
        httpx.Response(500, json={}),
    ],
)
async def test_an_answer_that_is_none_is_tried_three_times_with_pauses(nothing: httpx.Response) -> None:
    answers = [nothing, nothing, ok({"result": {"c0": 5}, "result_error": []})]
    portal = Scripted(lambda *_: answers.pop(0))
    assert (await portal.client.batch(1, COMMANDS[:1]))[0].result == 5
    first, second = portal.clock.slept
    assert 1.6 <= first <= 2.4
    assert 4.8 <= second <= 7.2


async def test_a_portal_that_never_answers_is_an_outage_and_no_fault_of_a_command() -> None:
    portal = Scripted(lambda *_: httpx.Response(502, html="x"))
    with pytest.raises(OutageError) as outage:
        await portal.client.batch(1, COMMANDS)
    assert outage.value.part == "portal"
    with pytest.raises(OutageError):
        await portal.client.call(1, "profile")


async def test_a_batch_that_the_portal_chokes_on_is_halved_until_the_command_is_found() -> None:
    def script(method: str, body: dict[str, Any]) -> httpx.Response:
        if method != "batch":
            return ok("2026-01-01T00:00:00+03:00")
        if "c2" in body["cmd"]:
            return httpx.Response(504, html="cut after 60 s")
        return batch_answer(body, lambda label, _: label)

    answers = await Scripted(script).client.batch(1, COMMANDS)
    assert [answer.result for answer in answers] == ["c0", "c1", None, "c3"]
    assert answers[2].refusal is not None
    assert answers[2].refusal.transient


def _chain(pages: int) -> list[Command]:
    befores = [900, *(f"$result[w_{n - 1}][messages][49][id]" for n in range(1, pages))]
    return [Command(f"w_{n}", "im.dialog.messages.get", {"LAST_ID": before}) for n, before in enumerate(befores)]


async def test_what_refers_to_the_first_half_of_a_halved_batch_is_not_sent_without_it_but_asked_for_anew() -> None:
    def script(method: str, body: dict[str, Any]) -> httpx.Response:
        if method != "batch":
            return ok("2026-01-01T00:00:00+03:00")
        if len(body["cmd"]) > 2:
            return httpx.Response(504, html="cut after 60 s")
        return batch_answer(body, lambda label, _: label)

    portal = Scripted(script)
    answers = await portal.client.batch(1, [*_chain(4), COMMANDS[0]])

    assert [answer.result for answer in answers] == ["w_0", "w_1", None, None, "c0"]
    assert [answer.refusal for answer in answers[2:4]] == [Refusal("portal.halved", transient=True, later_s=0.0)] * 2
    sent = [set(body["cmd"]) for method, body in portal.requests if method == "batch"]
    assert sent[-2:] == [{"w_0", "w_1"}, {"c0"}]


async def test_an_answer_that_is_too_large_is_not_held_but_asked_for_in_halves_at_once() -> None:
    text = "m" * (LARGEST_ANSWER // 3)
    portal = Scripted(lambda _, body: batch_answer(body, lambda label, _: [label, text]))

    answers = await portal.client.batch(1, COMMANDS)

    assert [answer.result for answer in answers] == [[f"c{n}", text] for n in range(4)]
    assert [len(body["cmd"]) for _, body in portal.requests] == [4, 2, 2]
    assert portal.clock.slept == []
    assert all(answer.size > len(text) for answer in answers)


async def test_one_page_is_read_however_large_it_is() -> None:
    text = "m" * (LARGEST_ANSWER + 1)
    portal = Scripted(lambda _, body: batch_answer(body, lambda *_: text))
    assert [answer.result for answer in await portal.client.batch(1, COMMANDS[:1])] == [text]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("INVALID_CREDENTIALS", "is not accepted"),
        ("OVERLOAD_LIMIT", "support"),
        ("PORTAL_DELETED", "closed"),
        ("INVALID_REQUEST", "https"),
        ("insufficient_scope", "lacks the scope of"),
    ],
)
async def test_a_dead_webhook_blocks_with_a_sentence_and_without_its_secret(code: str, words: str) -> None:
    portal = Scripted(lambda *_: refused(code, 401))
    with pytest.raises(BlockedError) as blocked:
        await portal.client.batch(1, COMMANDS)
    assert words in blocked.value.sentence
    assert SECRET not in blocked.value.sentence
    assert len(portal.requests) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "ERROR_CORE"),
        (500, ""),
        (502, "bad_gateway"),
        (503, "SERVICE_UNAVAILABLE"),
        (429, "TOO_MANY_REQUESTS"),
    ],
)
async def test_a_portal_in_trouble_that_names_a_code_is_tried_again_and_an_outage_like_any_other(
    status: int, code: str
) -> None:
    answers = [refused(code, status), refused(code, status), ok({"result": {"c0": 5}, "result_error": []})]
    portal = Scripted(lambda *_: answers.pop(0))
    assert (await portal.client.batch(1, COMMANDS[:1]))[0].result == 5
    portal = Scripted(lambda *_: refused(code, status))
    with pytest.raises(OutageError):
        await portal.client.batch(1, COMMANDS)
    assert [method for method, _ in portal.requests] == ["batch", "batch", "batch", "server.time"]


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_a_batch_that_is_refused_as_a_whole_is_no_fault_of_its_commands(status: int) -> None:
    portal = Scripted(lambda *_: refused("ACCESS_DENIED", status))
    with pytest.raises(BlockedError) as blocked:
        await portal.client.batch(1, COMMANDS)
    assert "p.test refuses all requests of the webhook of user 1" in blocked.value.sentence
    assert f"(ACCESS_DENIED, HTTP {status})" in blocked.value.sentence
    assert SECRET not in blocked.value.sentence
    assert len(portal.requests) == 1


@pytest.mark.parametrize("error", ["", {"code": "X", "message": "words of the portal"}, "words of the portal"])
async def test_words_of_a_portal_in_the_place_of_a_code_are_not_repeated(error: Any) -> None:
    portal = Scripted(lambda *_: httpx.Response(403, json={"error": error}))
    with pytest.raises(BlockedError) as blocked:
        await portal.client.batch(1, COMMANDS)
    assert "(portal.error, HTTP 403)" in blocked.value.sentence


@pytest.mark.parametrize("error", ["words of the portal", "79051230042", "TEL_7_905_123_00_42", "текст", ""])
async def test_nor_in_what_is_said_of_one_command_or_call(error: str) -> None:
    portal = Scripted(lambda _, body: batch_answer(body, lambda *_: {"error": error}))
    assert {answer.refusal.code for answer in await portal.client.batch(1, COMMANDS) if answer.refusal} == {
        "portal.error"
    }
    alone = await Scripted(lambda *_: refused(error)).client.call(1, "user.get")
    assert alone.refusal is not None
    assert alone.refusal.code == "portal.error"


@pytest.mark.parametrize("code", ["ACCESS_ERROR", "DIALOG_ID_EMPTY", "expired_token_2", "ERROR_404"])
async def test_a_code_of_the_portal_is_told(code: str) -> None:
    answers = await Scripted(lambda _, body: batch_answer(body, lambda *_: {"error": code})).client.batch(1, COMMANDS)
    assert {answer.refusal.code for answer in answers if answer.refusal} == {code}


async def test_commands_that_a_methods_operating_time_does_not_carry_are_not_sent() -> None:
    portal = Scripted(lambda _, body: batch_answer(body, lambda label, _: label))
    portal.bucket.carries[1, "im.dialog.get"] = 2
    other = Command("o", "user.get", {})
    answers = await portal.client.batch(1, [*COMMANDS, other])
    assert list(portal.requests[0][1]["cmd"]) == ["c0", "c1", "o"]
    assert [answer.result for answer in answers] == ["c0", "c1", None, None, "o"]
    refusals = [answer.refusal for answer in answers]
    assert [one and (one.code, one.transient, one.later_s) for one in refusals] == [
        None,
        None,
        ("OPERATION_TIME_LIMIT", True, 30.0),
        ("OPERATION_TIME_LIMIT", True, 30.0),
        None,
    ]


async def test_nothing_is_asked_when_no_command_may_go() -> None:
    portal = Scripted(lambda _, body: batch_answer(body, lambda label, _: label))
    portal.bucket.carries[1, "im.dialog.get"] = 0
    await portal.client.batch(1, COMMANDS)
    assert (portal.requests, portal.bucket.taken) == ([], 0)


async def test_what_a_portal_is_asked_to_know_it_needs_no_operating_time() -> None:
    portal = Scripted(lambda _, body: batch_answer(body, lambda label, _: label))
    await portal.client.batch(1, [Command("m", "method.get", {}), Command("s", "scope", {}), COMMANDS[0]])
    assert portal.bucket.settled[0][0] == {"im.dialog.get": 1}


async def test_a_batch_tells_what_it_spent_and_a_refusal_of_the_portal() -> None:
    time = {"operating": 470.0, "operating_reset_at": 1_100, "finish": 1_000.5, "duration": 0.25}
    errors = {"c1": {"error": "OPERATION_TIME_LIMIT"}}
    portal = Scripted(lambda *_: ok({"result": {"c0": 5}, "result_error": errors, "result_time": {"c0": time}}))
    answers = await portal.client.batch(1, COMMANDS[:2])
    assert [answer.refusal.later_s if answer.refusal else None for answer in answers] == [None, 60.0]
    assert portal.bucket.settled == [
        ({"im.dialog.get": 2}, {"im.dialog.get": Measured(470.0, 99.5, 0.25, refused=True)})
    ]


async def test_a_request_without_an_answer_is_settled_before_it_is_asked_again() -> None:
    answers = [httpx.Response(502, html="x"), ok({"result": {"c0": 5}, "result_error": []})]
    portal = Scripted(lambda *_: answers.pop(0))
    await portal.client.batch(1, COMMANDS[:1])
    assert [told for _, told in portal.bucket.settled] == [{}, {}]


async def test_a_dead_webhook_leaves_nothing_reserved() -> None:
    portal = Scripted(lambda *_: refused("INVALID_CREDENTIALS", 401))
    with pytest.raises(BlockedError):
        await portal.client.batch(1, COMMANDS)
    assert len(portal.bucket.settled) == 1


async def test_a_whole_batch_over_the_operating_time_is_asked_for_later_and_not_split() -> None:
    portal = Scripted(lambda method, _: refused("OPERATION_TIME_LIMIT", 429) if method == "batch" else ok("x"))
    answers = await portal.client.batch(1, COMMANDS)
    assert [answer.refusal.later_s for answer in answers if answer.refusal] == [60.0] * 4


async def test_lone_surrogates_of_a_portal_are_read() -> None:
    portal = Scripted(lambda *_: httpx.Response(200, content=b'{"result": "half \\ud83d"}'))
    assert (await portal.client.call(1, "profile")).result == "half \ud83d"


async def test_a_certificate_that_is_not_trusted_is_named() -> None:
    def script(*_: Any) -> httpx.Response:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")

    with pytest.raises(BlockedError) as blocked:
        await Scripted(script).client.batch(1, COMMANDS)
    assert "CHATFERRY_PORTAL_CA_FILE" in blocked.value.sentence


async def test_php_answers_in_lists_are_read_as_maps() -> None:
    portal = Scripted(
        lambda *_: ok({"result": [], "result_error": {"c0": {"error": "ACCESS_ERROR"}}, "result_time": []})
    )
    (answer,) = await portal.client.batch(1, COMMANDS[:1])
    assert answer.refusal is not None
    assert answer.refusal.code == "ACCESS_ERROR"


async def test_commands_that_are_asked_again_are_attempts_of_their_entity_and_those_of_none_are_not() -> None:
    answers = [httpx.Response(500, json={}), httpx.Response(500, json={}), ok({"result": {}, "result_error": []})]
    portal = Scripted(lambda *_: answers.pop(0))
    commands = [
        replace(one, entity=entity) for one, entity in zip(COMMANDS, ("chats", "users", "chats", None), strict=True)
    ]
    await portal.client.batch(1, commands)
    counted = {
        e: portal.metrics.registry.get_sample_value("retry_attempts_total", {"entity": e}) for e in ("chats", "users")
    }
    assert counted == {"chats": 4, "users": 2}
    assert not portal.metrics.registry.get_sample_value("retry_attempts_total", {"entity": "None"})


async def test_what_is_answered_at_once_is_no_repeated_attempt() -> None:
    portal = Scripted(lambda _, body: batch_answer(body, lambda label, _: {"id": label}))
    await portal.client.batch(1, [replace(COMMANDS[0], entity="chats")])
    assert portal.metrics.registry.get_sample_value("retry_attempts_total", {"entity": "chats"}) is None


def test_answers_of_every_kind_are_shown_before_the_first_of_it() -> None:
    scripted = Scripted(lambda _method, _body: ok({}))
    registry = scripted.metrics.registry
    for outcome in ("ok", "refused", "failed", "limited", "too_large"):
        assert registry.get_sample_value("portal_requests_total", {"outcome": outcome}) == 0
