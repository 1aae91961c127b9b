"""The target protocol (docs/target-protocol.md), as every server that takes our imports has to speak it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.contract.chat.target_process import Speaker
from tests.unit.chat.records import chat, message, time_at, user, wire

from chatferry.common.contracts.canonical import canonical_json
from chatferry.common.contracts.target import ItemResult, TargetError

pytestmark = pytest.mark.integration

HARD_TEXTS = {
    "cyrillic and bbcode": "Привет, [USER=547]Анна[/USER]! [URL=https://x.y/?a=b&c]тут[/URL]",
    "empty": "",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x85\u2028\ufeff",
    "beyond the basic plane": "👩‍👩‍👧‍👦 𝔘𝔫𝔦 \U0010ffff",
    "quotes and slashes": '"\\/\\u0000 </script> ${x} $where',
    "not normalized": "e\u0301 é \u212b Å",
    "white space": "  a \t\r\n b\n\n ",
    "100 kB": "Ж" * 50_000,
}


def a_chat(chats: Speaker, number: int, **fields: Any) -> dict[str, Any]:
    data = chat(number, **fields)
    assert chats.statuses("chats", [wire("chats", data)]) == ["created"]
    return data


def sent(number: int, chat_id: int, version: int = 1, **fields: Any) -> dict[str, Any]:
    return wire("chat_messages", message(number, chat_id, **fields), version)


def refused(speaker: Speaker, verb: str, body: Any) -> tuple[int, str]:
    answer = speaker.send(verb, body)
    return answer.status_code, TargetError.model_validate_json(answer.content).error


class TestBatch:
    def test_a_new_record_is_created_and_gets_an_id(self, chats: Speaker, number: int) -> None:
        first, second = chats.batch("chats", [wire("chats", chat(number)), wire("chats", chat(number + 1))])
        assert (first["status"], second["status"]) == ("created", "created")
        assert first["id"] != second["id"]
        assert isinstance(first["id"], str)

    def test_the_same_version_again_is_unchanged_and_keeps_its_id(self, chats: Speaker, number: int) -> None:
        one = [wire("chats", chat(number))]
        created, again = chats.batch("chats", one)[0], chats.batch("chats", one)[0]
        assert again == {**created, "status": "unchanged"}

    def test_a_higher_version_updates_and_a_lower_one_is_stale(self, chats: Speaker, number: int) -> None:
        def titled(title: str, version: int) -> dict[str, Any]:
            return chats.batch("chats", [wire("chats", chat(number, title=title), version)])[0]

        results = [titled("b", 20), titled("c", 30), titled("a", 10), titled("b", 20), titled("c", 30)]
        assert [one["status"] for one in results] == ["created", "updated", "stale", "stale", "unchanged"]
        assert len({one["id"] for one in results}) == 1
        stored = chats.get("chats", f"source:chat:{number}")[0]
        assert (stored["version"], stored["data"]["title"]) == (30, "c")

    def test_data_version_and_hash_change_together(self, chats: Speaker, number: int) -> None:
        a_chat(chats, number)
        newer = wire("chats", chat(number, title="new"), 2**53)
        chats.batch("chats", [newer])
        stored = chats.get("chats", newer["key"])[0]
        assert {name: stored[name] for name in ("key", "version", "hash", "data")} == newer

    def test_a_key_twice_in_a_batch_is_taken_in_order(self, chats: Speaker, number: int) -> None:
        a_chat(chats, number)
        items = [sent(number, number, version, text=str(version)) for version in (2, 1, 3, 3, 5, 4)]
        wanted = ["created", "stale", "updated", "unchanged", "updated", "stale"]
        assert chats.statuses("chat_messages", items) == wanted
        assert chats.get("chat_messages", items[0]["key"])[0]["data"]["text"] == "5"

    def test_one_bad_item_lets_the_others_through(self, chats: Speaker, number: int) -> None:
        a_chat(chats, number)
        good, other = sent(number, number), sent(number + 1, number)
        bad = {
            "INVALID_DATA": {**other, "data": {**other["data"], "text": 5}},
            "KEY_MISMATCH": {**other, "key": f"source:chat:msg:{number + 2}"},
            "HASH_MISMATCH": {**other, "hash": "0" * 64},
            "INVALID_ITEM": {**other, "version": 0},
            "PARENT_MISSING": sent(number + 3, number + 999),
        }
        results = chats.batch("chat_messages", [good, *bad.values(), sent(number + 4, number)])
        assert [one["status"] for one in results] == ["created", *["error"] * len(bad), "created"]
        errors = [ItemResult.model_validate(one) for one in results[1:-1]]
        assert [one.code for one in errors] == list(bad)
        assert [one.retryable for one in errors] == [False] * len(bad)
        assert all(one.message for one in errors)
        keys = [good["key"], other["key"], sent(number + 4, number)["key"]]
        assert chats.done("get", entity="chat_messages", keys=keys)["missing"] == [other["key"]]

    def test_errors_do_not_repeat_what_was_sent(self, chats: Speaker, number: int) -> None:
        item = wire("chats", chat(number))
        item["data"]["type"] = "hunter2-type"
        item["data"]["hunter2-field"] = 1
        answer = chats.send("batch", {"entity": "chats", "items": [item]})
        assert "hunter2" not in answer.text

    def test_an_empty_batch_is_fine(self, chats: Speaker) -> None:
        assert chats.batch("chats", []) == []

    def test_users_nobody_knows_are_kept(self, chats: Speaker, number: int) -> None:
        a_chat(chats, number, owner_id=number, participant_ids=[number])
        assert chats.statuses("chat_messages", [sent(number, number, author_id=number + 7)]) == ["created"]


class TestReadBack:
    @pytest.mark.parametrize("text", HARD_TEXTS.values(), ids=HARD_TEXTS.keys())
    def test_texts_come_back_byte_for_byte(self, chats: Speaker, number: int, text: str) -> None:
        a_chat(chats, number)
        item = sent(number, number, text=text)
        assert chats.statuses("chat_messages", [item]) == ["created"]
        assert canonical_json(chats.get("chat_messages", item["key"])[0]["data"]) == canonical_json(item["data"])

    def test_every_field_of_a_message_comes_back(self, chats: Speaker, number: int) -> None:
        a_chat(chats, number)
        origin = {"chat_id": 1, "message_id": None, "user_id": 2**53}
        file = {"id": 3, "name": "Отчёт.pdf", "size_bytes": 0, "mime_type": None}
        full: dict[str, Any] = {
            "reply_to": number - 1,
            "forwarded_from": origin,
            "files": [file, {**file, "id": 4, "name": None}],
            "reactions": [{"reaction": "like", "user_ids": [1, 2]}, {"reaction": "", "user_ids": []}],
            "author_id": None,
            "system": True,
            "deleted": True,
            "edited": True,
        }
        nothing: dict[str, Any] = {"forwarded_from": dict.fromkeys(origin), "files": [], "reactions": []}
        items = [sent(number, number, **full), sent(number + 1, number, **nothing), sent(number + 2, number)]
        chats.batch("chat_messages", items)
        stored = chats.get("chat_messages", *[one["key"] for one in items])
        assert [one["data"] for one in stored] == [one["data"] for one in items]

    @pytest.mark.parametrize("fraction", ["", ".1", ".10", ".000", ".123", ".123456", ".000001", ".999999"])
    def test_times_keep_their_fraction_digits(self, chats: Speaker, number: int, fraction: str) -> None:
        data = a_chat(chats, number, created_at=time_at(f"1999-12-31T23:59:59{fraction}Z"))
        assert chats.get("chats", f"source:chat:{number}")[0]["data"] == data

    def test_a_chat_of_ten_thousand_participants_comes_back(self, chats: Speaker, number: int) -> None:
        data = a_chat(chats, number, participant_ids=list(range(1, 10_001)), manager_ids=[])
        assert chats.get("chats", f"source:chat:{number}")[0]["data"] == data

    def test_users_come_back_dismissed_ones_too(self, users: Speaker, number: int) -> None:
        people = [user(number), user(number + 1, active=False, departments=[2, 1]), user(number + 2, **dict.fromkeys(
            ("name", "first_name", "last_name", "email", "active", "bot", "external", "work_position")))]  # fmt: skip
        items = [wire("users", one) for one in people]
        assert users.statuses("users", items) == ["created"] * 3
        assert [one["data"] for one in users.get("users", *[one["key"] for one in items])] == people

    def test_get_names_what_is_missing(self, chats: Speaker, number: int) -> None:
        a_chat(chats, number)
        here, gone, strange = f"source:chat:{number}", f"source:chat:{number + 1}", "no key at all"
        answer = chats.done("get", entity="chats", keys=[gone, here, strange])
        assert [one["key"] for one in answer["items"]] == [here]
        assert answer["missing"] == [gone, strange]

    def test_a_parents_records_are_counted_and_listed_by_source_id(self, chats: Speaker, number: int) -> None:
        a_chat(chats, number)
        a_chat(chats, number + 1)
        shuffled = [sent(number + n, number) for n in (7, 2, 30, 1, 9, 8)]
        chats.batch("chat_messages", [*shuffled, sent(number + 5, number + 1)])
        parent = f"source:chat:{number}"
        assert chats.done("count", entity="chat_messages", parent=parent) == {"count": 6}
        for limit in (1, 2, 6, 7, 500):
            found = list(chats.walk("chat_messages", parent=parent, limit=limit))
            assert [one["data"]["id"] - number for one in found] == [1, 2, 7, 8, 9, 30]
        assert chats.done("count", entity="chat_messages", parent=f"source:chat:{number + 999}") == {"count": 0}
        assert list(chats.walk("chat_messages", parent=f"source:chat:{number + 999}")) == []

    def test_the_whole_entity_is_listed_and_counted(self, chats: Speaker, number: int) -> None:
        chats.batch("chats", [wire("chats", chat(number + n)) for n in range(20)])
        found = [one["data"]["id"] for one in chats.walk("chats", limit=7)]
        assert found == sorted(set(found))
        assert {number + n for n in range(20)} <= set(found)
        assert chats.done("count", entity="chats") == {"count": len(found)}

    def test_a_list_goes_on_unharmed_while_records_arrive(self, chats: Speaker, number: int) -> None:
        a_chat(chats, number)
        chats.batch("chat_messages", [sent(number + n, number) for n in range(0, 100, 2)])
        found = []
        for seen in chats.walk("chat_messages", parent=f"source:chat:{number}", limit=5):
            found.append(seen["data"]["id"] - number)
            if len(found) % 5 == 1:
                chats.batch("chat_messages", [sent(number + len(found) * 2 - 1, number)])
        assert found == sorted(set(found))
        assert set(range(0, 100, 2)) <= set(found)


class TestRefusals:
    def test_a_wrong_secret_or_user_is_401(self, chats: Speaker) -> None:
        base, _user, secret = chats.url.rsplit("/", 2)
        for url in (f"{base}/1/wrong-{secret}", f"{base}/other/{secret}", f"{base}/1/%00", f"{base}/1/Ж"):
            answer = chats.http.post(f"{url}/import.chats.count", json={"entity": "chats"})
            assert (answer.status_code, answer.json()["error"]) == (401, "INVALID_CREDENTIALS")
            assert secret not in answer.text

    def test_an_unknown_method_is_404(self, chats: Speaker) -> None:
        for method in ("import.nothing.batch", "import.chats.nothing", "profile", "import.chats.batch/x"):
            answer = chats.http.post(f"{chats.url}/{method}", json={})
            assert (answer.status_code, answer.json()["error"]) == (404, "ERROR_METHOD_NOT_FOUND")

    def test_an_entity_of_another_family_is_400(self, chats: Speaker) -> None:
        calls: dict[str, dict[str, Any]] = {"batch": {"items": []}, "count": {}, "get": {"keys": []}, "list": {}}
        for verb, rest in calls.items():
            assert refused(chats, verb, {"entity": "users", **rest}) == (400, "UNKNOWN_ENTITY")

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", b"null", b'{"entity":"chats"}', b'{"entity":"chats","items":{}}',
         b'{"entity":"chats","items":[1]}', b'{"entity":"chats","items":[{"version":1}]}',
         b'{"entity":"chats","items":[{"key":""}]}', b'{"entity":"chats","items":[{"key":"\\ud800"}]}',
         b'\xff\xfe{"a":1}', b"[" * 5000],
    )  # fmt: skip
    def test_an_unreadable_batch_is_400(self, chats: Speaker, body: bytes) -> None:
        answer = chats.http.post(f"{chats.url}/import.chats.batch", content=body)
        assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_REQUEST")

    def test_too_many_items_are_400(self, chats: Speaker) -> None:
        body = {"entity": "chats", "items": [wire("chats", chat(n)) for n in range(10_001)]}
        assert refused(chats, "batch", body) == (400, "BATCH_TOO_LARGE")

    @pytest.mark.parametrize("limit", [0, 501, "many"])
    def test_a_limit_out_of_range_is_400(self, chats: Speaker, limit: object) -> None:
        assert refused(chats, "list", {"entity": "chats", "limit": limit}) == (400, "INVALID_REQUEST")

    def test_a_changed_or_foreign_next_is_400(self, chats: Speaker, number: int) -> None:
        chats.batch("chats", [wire("chats", chat(number + n)) for n in range(3)])
        mark = chats.done("list", entity="chats", limit=1)["next"]
        other = "A" if mark[0] != "A" else "B"
        for after in (other + mark[1:], mark[:-1], mark + "A", "", "☃", "x" * 10_000):
            assert refused(chats, "list", {"entity": "chats", "after": after}) == (400, "INVALID_REQUEST")
        body = {"entity": "chat_messages", "parent": f"source:chat:{number}", "after": mark}
        assert refused(chats, "list", body) == (400, "INVALID_REQUEST")

    def test_a_parent_that_is_no_key_is_400(self, chats: Speaker) -> None:
        for entity, parent in (
            ("chat_messages", "1489"),
            ("chat_messages", "source:user:1"),
            ("chats", "source:chat:1"),
        ):
            for verb in ("count", "list"):
                assert refused(chats, verb, {"entity": entity, "parent": parent}) == (400, "INVALID_REQUEST")

    def test_more_than_500_keys_are_400(self, chats: Speaker) -> None:
        body = {"entity": "chats", "keys": [f"source:chat:{n}" for n in range(501)]}
        assert refused(chats, "get", body) == (400, "INVALID_REQUEST")

    def test_a_get_is_405(self, chats: Speaker) -> None:
        assert chats.http.get(f"{chats.url}/import.chats.count").status_code == 405

    def test_fields_we_do_not_know_yet_are_no_error(self, chats: Speaker) -> None:
        body = json.loads('{"entity":"chats","of_tomorrow":1}')
        assert chats.send("count", body).status_code == 200
