"""`batch`: up to fifty commands in one request, each seeing the results of those before it."""

import re
from dataclasses import dataclass, field
from typing import Any

from chatferry.simulators.bitrix24 import jsontext
from chatferry.simulators.bitrix24.engine import BATCH, Done, Engine
from chatferry.simulators.bitrix24.errors import PortalError
from chatferry.simulators.bitrix24.methods.call import Reply
from chatferry.simulators.bitrix24.model import Webhook
from chatferry.simulators.bitrix24.params import Params, parse_query, php_true

MAX_COMMANDS = 50

_REFERENCE = re.compile(r"\$result((?:\[[^\[\]]*\])+)")
_PART = re.compile(r"\[([^\[\]]*)\]")


@dataclass(slots=True)
class _Outcome:
    """The maps of the answer, key to JSON."""

    result: dict[str, bytes] = field(default_factory=dict)
    error: dict[str, bytes] = field(default_factory=dict)
    total: dict[str, bytes] = field(default_factory=dict)
    next: dict[str, bytes] = field(default_factory=dict)
    time: dict[str, bytes] = field(default_factory=dict)
    replies: dict[str, Reply] = field(default_factory=dict)


def run_batch(engine: Engine, webhook: Webhook, params: Params) -> bytes:
    """JSON of the outer `result`. Never raises PortalError: what fails stands in `result_error`."""
    commands = _commands(params.get("cmd"))
    halt = php_true(params.get("halt"))
    engine.statistics.batch_sizes[len(commands)] += 1
    outcome = _Outcome()
    for index, (key, command) in enumerate(commands):
        try:
            if index >= MAX_COMMANDS:
                raise PortalError("ERROR_BATCH_LENGTH_EXCEEDED")
            _store(engine, outcome, key, _run(engine, webhook, command, outcome))
        except PortalError as error:
            _fail(engine, outcome, key, error)
            if halt:
                break
    return _render(outcome)


def _commands(cmd: Any) -> list[tuple[str, str]]:
    pairs = cmd.items() if isinstance(cmd, dict) else enumerate(cmd) if isinstance(cmd, list) else ()
    return [(str(key), str(command)) for key, command in pairs]


def _run(engine: Engine, webhook: Webhook, command: str, outcome: _Outcome) -> Done:
    method, _, query = command.partition("?")
    method = method.strip().lower().removesuffix(".json")
    engine.statistics.commands[method] += 1
    if method == BATCH:
        raise PortalError("ERROR_BATCH_METHOD_NOT_ALLOWED")
    engine.faults.refuse_command(method, engine.statistics.faults)
    params = parse_query(query)
    return engine.call(webhook, method, _resolved(params, outcome) if "result" in query else params)


def _store(engine: Engine, outcome: _Outcome, key: str, done: Done) -> None:
    outcome.replies[key] = done.reply
    outcome.result[key] = done.reply.body
    if done.reply.total is not None:
        outcome.total[key] = b"%d" % done.reply.total
    if done.reply.next is not None:
        outcome.next[key] = b"%d" % done.reply.next
    outcome.time[key] = engine.stamp.time(done.started_at, done.finished_at, done.operating)


def _fail(engine: Engine, outcome: _Outcome, key: str, error: PortalError) -> None:
    """A missing scope comes without a description here."""
    engine.statistics.command_errors[error.code] += 1
    description = "" if error.code == "insufficient_scope" else error.description
    outcome.error[key] = jsontext.dump({"error": error.code, "error_description": description})


def _render(outcome: _Outcome) -> bytes:
    return b'{"result":%b,"result_error":%b,"result_total":%b,"result_next":%b,"result_time":%b}' % (
        jsontext.php_map(outcome.result),
        jsontext.php_map(outcome.error),
        jsontext.php_map(outcome.total),
        jsontext.php_map(outcome.next),
        jsontext.php_map(outcome.time),
    )


def _resolved(value: Any, outcome: _Outcome) -> Any:
    """References replaced: a value that is one reference becomes what it names, a list included; else text."""
    if isinstance(value, dict):
        return {key: _resolved(item, outcome) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, outcome) for item in value]
    if not isinstance(value, str) or "$result" not in value:
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole is not None:
        return _look_up(whole.group(1), outcome)
    return _REFERENCE.sub(lambda match: _as_text(_look_up(match.group(1), outcome)), value)


def _look_up(path: str, outcome: _Outcome) -> Any:
    """Empty text for what is not there, as PHP's null in a text."""
    key, *rest = _PART.findall(path)
    reply = outcome.replies.get(key)
    if reply is None:
        return ""
    parts = reply.parts.get(rest[0]) if rest else None
    if parts is not None and len(rest) > 1:
        value = jsontext.load(parts[int(rest[1])]) if rest[1].isdecimal() and int(rest[1]) < len(parts) else None
        rest = rest[2:]
    else:
        value = jsontext.load(reply.body)
    for part in rest:
        value = _child(value, part)
    return "" if value is None else value


def _child(value: Any, part: str) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
        return value[int(part)]
    return None


def _as_text(value: Any) -> str:
    return "" if isinstance(value, dict | list) else str(value)
