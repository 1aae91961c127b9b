"""The control interface: change a running platform, break it, and read the truth about it. JSON in, JSON out.

GET    /control/truth                           overview: clock, calls, events, script, settings, subscriptions
GET    /control/truth/counts                    {"now_ms", "counts": {chat_id: count}} of the chats with the bot
GET    /control/truth/chats                     every chat: type, status, title, count, has_bot, admin, events
GET    /control/truth/history?chat_id=&since_ms=  {"now_ms", "history": {chat_id: [[ms, count or null], ...]}}
GET    /control/truth/calls?since_ms=           total, by_path, by_status, reads, reads_twice_at_once, max_in_any_second
GET    /control/truth/calls/chats?since_ms=     {chat_id: reads}
GET    /control/truth/calls/twice?since_ms=     [{"at_ms", "chat_id"}]: reads that arrived during another of that chat
GET    /control/truth/events                    changes and what became of their events
POST   /control/changes/{name}                  a method of Changes, its arguments as the body; {"result": ...}
GET|POST|DELETE /control/faults                 list, add one, remove all
POST   /control/script/pause | resume           the script is quiet, or goes on
GET|PATCH       /control/settings               {"speed", "api": {}, "delivery": {}, "script": {}}, all or some
POST   /control/clock/skip                      {"seconds"}: so much later at once
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from chatferry.simulators.controls import ControlApp, Handler, UnknownError, call_with, json_object
from chatferry.simulators.max import truth
from chatferry.simulators.max.changes import Changes
from chatferry.simulators.max.faults import Fault
from chatferry.simulators.max.world import World

CHANGES = tuple(name for name in vars(Changes) if not name.startswith("_"))


def control_app(world: World) -> Starlette:
    control = _Control(world)
    return ControlApp(
        (
            ("/truth", "GET", control.read(lambda _request: truth.overview(world))),
            ("/truth/counts", "GET", control.read(lambda _request: truth.counts(world))),
            ("/truth/chats", "GET", control.read(lambda _request: truth.chats(world))),
            ("/truth/history", "GET", control.read(control.history)),
            ("/truth/calls", "GET", control.read(lambda asked: world.traffic.summary(_since(asked)))),
            ("/truth/calls/chats", "GET", control.read(lambda asked: world.traffic.reads_by_chat(_since(asked)))),
            ("/truth/calls/twice", "GET", control.read(lambda asked: world.traffic.doubled(_since(asked)))),
            ("/truth/events", "GET", control.read(lambda _request: truth.events(world))),
            ("/changes/{name}", "POST", control.change),
            ("/faults", "GET", control.read(lambda _request: [asdict(fault) for fault in world.faults.rules])),
            ("/faults", "POST", control.add_fault),
            ("/faults", "DELETE", control.clear_faults),
            ("/script/{name}", "POST", control.switch_script),
            ("/settings", "GET", control.read(lambda _request: world.live.now.model_dump())),
            ("/settings", "PATCH", control.change_settings),
            ("/clock/skip", "POST", control.skip),
        ),
        dump,
    )


def dump(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


def _json(value: Any) -> Response:
    return Response(dump(value), media_type="application/json")


def _since(request: Request) -> int:
    return int(request.query_params.get("since_ms", "0"))


class _Control:
    def __init__(self, world: World) -> None:
        self._world = world

    def read(self, say: Callable[[Request], Any]) -> Handler:
        async def handler(request: Request) -> Response:
            return _json(say(request))

        return handler

    def history(self, request: Request) -> Any:
        asked = request.query_params.get("chat_id")
        return truth.history(self._world, None if asked is None else int(asked), _since(request))

    async def change(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in CHANGES:
            raise UnknownError(f"there is no change {name!r}; there are {', '.join(CHANGES)}")
        result = call_with(getattr(self._world.changes, name), await json_object(request, orjson.loads))
        return _json({"result": result})

    async def add_fault(self, request: Request) -> Response:
        fault: Fault = call_with(Fault, await json_object(request, orjson.loads))
        self._world.faults.add(fault)
        return _json(asdict(fault))

    async def clear_faults(self, _request: Request) -> Response:
        self._world.faults.clear()
        return _json({})

    async def switch_script(self, request: Request) -> Response:
        """Answered with the moment, so that a judge knows since when it is quiet."""
        name = request.path_params["name"]
        if name not in ("pause", "resume"):
            raise UnknownError("the script can pause and resume")
        getattr(self._world.script, name)()
        return _json({"now_ms": truth.now_ms(self._world), "running": self._world.script.running})

    async def change_settings(self, request: Request) -> Response:
        self._world.change_settings(await json_object(request, orjson.loads))
        return _json(self._world.live.now.model_dump())

    async def skip(self, request: Request) -> Response:
        call_with(self._world.skip, await json_object(request, orjson.loads))
        return _json({"now_ms": truth.now_ms(self._world)})
