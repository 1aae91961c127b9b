from random import Random
from typing import Any

import orjson
import pytest

from chatferry.simulators.bitrix24 import GeneratorSettings, PortalSettings, generate, new_webhook
from chatferry.simulators.bitrix24.batch import run_batch
from chatferry.simulators.bitrix24.engine import Engine
from chatferry.simulators.bitrix24.faults import Fault, FaultKind, FaultPlan


@pytest.fixture
def engine() -> Engine:
    portal = generate(GeneratorSettings(users=20, chats=8, messages=200))
    return Engine(portal, PortalSettings(), lambda: 1_700_000_000.0, FaultPlan(Random(1)))


def run(engine: Engine, params: dict[str, Any]) -> dict[str, Any]:
    webhook = new_webhook(engine.portal, max(engine.portal.users))
    result: dict[str, Any] = orjson.loads(run_batch(engine, webhook, params))
    return result


def test_maps_are_lists_when_they_are_empty_and_objects_when_not(engine: Engine) -> None:
    answer = run(engine, {"cmd": {"a": "server.time"}})
    assert answer["result"] == {"a": "2023-11-15T01:13:20+03:00"}
    assert [answer[name] for name in ("result_error", "result_total", "result_next")] == [[], [], []]
    assert answer["result_time"]["a"]["operating"] == 0
    assert "operating_reset_at" not in answer["result_time"]["a"]


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("$result[u][0][ID]", ["1"]),
        ("$result[u][7][ID]", []),
        ("$result[u][x][ID]", []),
        ("$result[nobody][0][ID]", []),
        ("$result[u]", []),
        ("$result", []),
    ],
)
def test_references_find_what_is_there_and_give_nothing_else(engine: Engine, reference: str, wanted: list[str]) -> None:
    answer = run(engine, {"cmd": {"u": "user.get?FILTER[ID]=1", "v": f"user.get?FILTER[ID]={reference}"}})
    assert [row["ID"] for row in answer["result"]["v"]] == wanted


def test_a_reference_reaches_into_a_page_of_messages(engine: Engine) -> None:
    page = "im.dialog.messages.get?DIALOG_ID=chat11&LIMIT=2"
    commands = {
        "a": page,
        "b": page + "&LAST_ID=$result[a][messages][1][id]",
        "c": page + "&LAST_ID=$result[a][chat_id]",
    }
    answer = run(engine, {"cmd": commands})["result"]
    seen = [message["id"] for key in ("a", "b") for message in answer[key]["messages"]]
    assert seen == list(reversed(engine.portal.chats[11].log.ids[-4:]))
    assert answer["c"]["messages"] == []


def test_faults_hit_single_commands_and_are_counted(engine: Engine) -> None:
    engine.faults.add(Fault(FaultKind.HALF_BATCH, "server.*", count=1))
    engine.faults.add(Fault(FaultKind.OPERATION_LIMIT, "server.*", count=1))
    answer = run(engine, {"cmd": {"a": "server.time", "b": "server.time", "c": "server.time"}})
    assert {key: error["error"] for key, error in answer["result_error"].items()} == {
        "a": "INTERNAL_SERVER_ERROR",
        "b": "OPERATION_TIME_LIMIT",
    }
    assert list(answer["result"]) == ["c"]
    assert engine.statistics.faults == {"half_batch": 1, "operation_limit": 1}
    assert engine.statistics.commands == {"server.time": 3}
    assert engine.statistics.batch_sizes == {3: 1}


def test_the_same_seed_draws_the_same_faults(engine: Engine) -> None:
    def drawn() -> list[str]:
        plan = FaultPlan(Random(7))
        plan.add(Fault(FaultKind.HALF_BATCH, probability=0.5))
        engine.faults = plan
        return list(run(engine, {"cmd": {f"c{number}": "server.time" for number in range(30)}})["result"])

    assert drawn() == drawn()
