"""`user.get`: filters, paging, who is in it."""

from typing import Any

from tests.contract.simulators.bitrix24.helpers import Json, Rest

from chatferry.simulators.bitrix24 import Portal


async def user_ids(rest: Rest, **params: Json) -> list[int]:
    return [int(row["ID"]) for row in await rest.result("user.get", params)]


async def test_offset_paging_ends_where_next_is_missing_and_is_empty_beyond(owner: Rest, portal: Portal) -> None:
    wanted = [user.id for user in portal.users.values() if user.listed and not user.bot and not user.extranet]
    first = (await owner.answer("user.get", {"start": 0})).json()
    assert (first["next"], first["total"], len(first["result"])) == (50, len(wanted), 50)
    second = (await owner.answer("user.get", {"start": 50})).json()
    assert "next" not in second
    assert [int(row["ID"]) for row in first["result"] + second["result"]] == wanted
    beyond = (await owner.answer("user.get", {"start": 500})).json()
    assert beyond["result"] == []


async def test_start_minus_one_walks_by_id_without_counting(owner: Rest, portal: Portal) -> None:
    seen: list[int] = []
    while True:
        params: dict[str, Any] = {"sort": "ID", "order": "ASC", "FILTER": {">ID": seen[-1] if seen else 0}, "start": -1}
        answer = (await owner.answer("user.get", params)).json()
        assert "next" not in answer
        assert answer.get("total", 0) == 0
        seen += [int(row["ID"]) for row in answer["result"]]
        if len(answer["result"]) < 50:
            break
    assert seen == sorted(set(seen))
    assert len(seen) == sum(user.listed and not user.bot and not user.extranet for user in portal.users.values())


async def test_filters_take_prefixes(owner: Rest) -> None:
    everybody = await user_ids(owner, start=-1)
    assert await user_ids(owner, FILTER={"@ID": [1, "5"]}) == [1, 5]
    assert await user_ids(owner, FILTER={">=ID": 3, "<ID": 7}) == [user for user in everybody if 3 <= user < 7]
    assert await user_ids(owner, FILTER={"!ID": 1}, start=-1) != everybody
    assert await user_ids(owner, ID=5) == [5]
    rows = await owner.result("user.get", {"FILTER": {"%NAME": "ан"}})
    assert rows
    assert all("ан" in row["NAME"].lower() for row in rows)
    assert (await user_ids(owner, FILTER={"NO_SUCH_FIELD": 1}, start=-1)) == everybody


async def test_dismissed_employees_are_listed_unless_filtered_out(owner: Rest, portal: Portal) -> None:
    dismissed = {user.id for user in portal.users.values() if not user.active}
    assert dismissed
    rows = await owner.result("user.get", {"FILTER": {"ACTIVE": False}})
    assert {int(row["ID"]) for row in rows} == dismissed
    assert not dismissed & set(await user_ids(owner, FILTER={"ACTIVE": "Y"}, start=0))


async def test_extranet_users_come_to_an_administrator_who_asks_for_them(
    owner: Rest, employee: Rest, portal: Portal
) -> None:
    guests = {user.id for user in portal.users.values() if user.extranet}
    assert guests
    assert not guests & set(await user_ids(owner))
    assert set(await user_ids(owner, FILTER={"USER_TYPE": "extranet"}, ADMIN_MODE=True)) == guests


async def test_rows_differ_in_their_keys_and_odd_fields_in_their_types(owner: Rest) -> None:
    rows = await owner.result("user.get", {})
    assert {type(row["TIMESTAMP_X"]) for row in rows} == {dict, str}
    assert all(isinstance(row["ID"], str) and isinstance(row["ACTIVE"], bool) for row in rows)


async def test_nothing_found_has_no_total(owner: Rest) -> None:
    assert "total" not in (await owner.answer("user.get", {"FILTER": {"ID": 999999}})).json()
