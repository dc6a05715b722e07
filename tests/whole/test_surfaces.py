"""One signalling model: the same commands through every surface have the same effect, history and refusals.

A surface is a function that asks one command of a live bot and returns what came of it: the exit code that this is on
the command line, and the message. Another surface is another line in `SURFACES`.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, cast

from neverblink.supervisor.api.client import who_asks
from neverblink.supervisor.cli.exit_codes import Exit, exit_of_fault
from neverblink.supervisor.store.history_db import HistoryDb

from ..ports import HOST, free_port
from .bots import bot, loop
from .live import WITHIN, Live, one_line

SOURCE = """
    settings = Limits()

    def on_tick(self, tick):
        self.state.ticks += 1

    @command
    def add(self, n: int = 1) -> int:
        self.state.sum += n
        return self.state.sum

    def on_halt(self):
        held, self.state.sum = self.state.sum, 0
        return held
    """
FIRST = """
    from neverblink.worker import command


    class Limits(msgspec.Struct, frozen=True):
        most: int = 5
        mode: str = "slow"
    """

Heard = tuple[int, str]
Asks = Callable[[Live, dict[str, Any]], Heard]


def heard(answer: dict[str, Any]) -> Heard:
    error = answer.get("error")
    return (int(exit_of_fault(error["code"])), error["message"]) if error else (0, "")


def by_socket(live: Live, command: dict[str, Any]) -> Heard:
    return heard(live.answer(live.send(**command)))


def by_file(live: Live, command: dict[str, Any]) -> Heard:
    """As a script does: put the file there by a rename, and wait until its id is answered."""
    id = f"file {time.monotonic_ns()}"
    new = live.home / "new.json"
    new.write_text(json.dumps({"id": id, **command}))
    new.replace(live.home / "control.json")
    until = time.monotonic() + WITHIN
    while True:
        answers = json.loads((live.home / "status.json").read_text())["control"]["answers"]
        for answer in answers:
            if answer["id"] == id:
                return heard(answer)
        assert time.monotonic() < until, f"no answer to {command}: {answers}"
        time.sleep(0.005)


def by_cli(live: Live, command: dict[str, Any]) -> Heard:
    op, why = command["op"], command.get("why", "")
    argv = [op, "--json", *(("-m", why) if why else ())]
    match op:
        case "send":
            argv = [op, "--json", command["name"], "--args", json.dumps(command["args"])]
        case "settings":
            argv += ["--set", json.dumps(command["set"])]
        case "halt":
            argv += ["--yes"]
        case _:
            pass
    ended = live.run(*argv)
    answer = json.loads(ended.out)
    return ended.code, answer["error"]["message"] if "error" in answer else ""


class ByHttp:
    """As a program with an operator's token does."""

    def __init__(self, live: Live) -> None:
        self.port = free_port()
        self.token = live.run("token", "add", "anna", "--role", "operator", "--json").json["token"]

    @property
    def table(self) -> str:
        """What the configuration says of it."""
        return f'[web]\nlisten = "{HOST}:{self.port}"\n'

    def __call__(self, live: Live, command: dict[str, Any]) -> Heard:
        rest = {key: value for key, value in command.items() if key != "op"}
        asked = urllib.request.Request(
            f"http://{HOST}:{self.port}/api/{command['op']}",
            json.dumps(rest).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        until = time.monotonic() + WITHIN
        while True:
            try:
                with urllib.request.urlopen(asked, timeout=WITHIN) as answer:
                    answer.read()
                return 0, ""
            except urllib.error.HTTPError as refused:
                with refused:
                    body: Any = json.loads(refused.read())
                return heard(cast("dict[str, Any]", body))
            except urllib.error.URLError:
                # It may be starting.
                assert time.monotonic() < until
                time.sleep(0.05)


SURFACES: dict[str, Asks] = {"zmq": by_socket, "control.json": by_file, "cli": by_cli}

COMMANDS: list[dict[str, Any]] = [
    {"op": "pause", "why": "thin market"},
    {"op": "settings", "set": {"most": 9}, "why": "a wide one"},
    {"op": "settings", "set": {"most": "many", "mode": "fast"}},
    {"op": "settings", "set": {"most": 5}},
    {"op": "send", "name": "add", "args": {"n": 3}},
    {"op": "send", "name": "add", "args": {"m": 3}},
    {"op": "send", "name": "ad", "args": {}},
    {"op": "halt", "confirm": "fox", "why": "the venue is down"},
    {"op": "resume"},
    {"op": "abort"},
]

EXPECTED = [
    ("pause", "ok", ""),
    ("settings", "ok", "most 5 -> 9"),
    ("settings", "bad-input", "setting 'most': expected a whole number, got text"),
    ("settings", "ok", "most 9 -> 5"),
    ("send", "ok", "add"),
    ("send", "bad-input", "add: contains unknown field `m` (add takes n)"),
    ("send", "not-found", "this bot has no command 'ad': did you mean add?"),
    ("halt", "ok", ""),
    ("resume", "ok", ""),
    ("abort", "not-found", ""),
]


def test_a_command_has_the_same_effect_history_and_refusal_through_every_surface(live: Live) -> None:
    source = bot(SOURCE, state="ticks: int = 0\nsum: int = 0", first=FIRST).replace(
        "def on_command", "def on_nothing"
    )
    by_http = ByHttp(live)
    code = live.code("v1", source)
    with (code / "neverblink.toml").open("a") as config:
        config.write(by_http.table)
    live.up(code)
    surfaces: dict[str, Asks] = {**SURFACES, "http": by_http}
    answers: dict[str, list[Heard]] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, ask in surfaces.items():
        # The command line says itself who asks.
        answers[name] = [ask(live, {**command, "who": who_asks()}) for command in COMMANDS]
        rows[name] = live.ask("history", commands=True, limit=len(COMMANDS))["commands"][::-1]
    first = next(iter(surfaces))
    for name in surfaces:
        assert answers[name] == answers[first], name
        for mine, other in zip(map(asked_by, rows[name]), rows[first], strict=True):
            assert {**mine, "at": 0, "seq": 0} == {**other, "at": 0, "seq": 0}, name
            # When it took effect is a fact of its own.
            assert (mine["seq"] is None) == (other["seq"] is None) == (mine["outcome"] != "ok")
    for row, (op, outcome, detail) in zip(rows[first], EXPECTED, strict=True):
        assert (row["op"], row["outcome"]) == (op, outcome), row
        assert detail in row["detail"], row
        assert row["who"] == who_asks()
    changed = rows[first][1]
    assert changed["facts"]["changes"] == {"most": {"old": 5, "new": 9}}
    assert changed["why"] == "a wide one"
    live.down()
    with HistoryDb.open(live.home / "supervisor.db", "fox", read_only=True) as history:
        assert len(history.commands(1000)) == len(surfaces) * len(COMMANDS) + 1


def asked_by(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the token that the web process adds to who asks: a fact that the others don't have."""
    return {**row, "who": row["who"].removesuffix(" (token anna)")}


def test_an_invalid_command_is_refused_with_the_same_message_by_socket_and_control_file(live: Live) -> None:
    live.up(live.code("v1", bot()))
    for ask in (by_socket, by_file):
        answers = [ask(live, command) for command in ({"op": "puase"}, {"op": "pause", "verbose": True})]
        assert [code for code, _ in answers] == [Exit.BAD_INPUT] * 2
        assert '(did you mean "pause"?)' in answers[0][1]
        assert "unknown field `verbose`" in answers[1][1]
        assert ask(live, {"op": "halt", "confirm": "wolf"}) == (
            Exit.BAD_INPUT,
            'a halt is confirmed with the bot\'s name: confirm is "wolf", expected "fox"',
        )
        assert ask(live, {"op": "send", "name": "halt"})[0] == Exit.BAD_INPUT
    live.down()


def test_a_value_is_converted_to_the_declared_type_and_an_undeclared_name_gets_a_suggestion(
    live: Live,
) -> None:
    """On the command line; what goes to `on_command` fails in the bot's own words, with the hint behind them."""
    source = (
        SOURCE
        + """
    @command
    def note(self, text: str) -> str:
        return text

    def on_command(self, name, args):
        if name == "book":
            return {"pid": os.getpid(), **msgspec.to_builtins(self.state)}
        raise ValueError(f"no {name} here")
    """
    )
    live.up(live.code("v0", bot(source, first=FIRST, state="ticks: int = 0\nsum: int = 0")))
    assert live.run("send", "note", "text=7").out == "7\n"
    assert live.run("settings", "mode=7").out == 'mode  "slow" -> "7"\n'
    wrong = live.run("send", "ntoe", "text=7")
    assert wrong.code == 1
    assert "no ntoe here (did you mean its command note?)" in one_line(wrong)
    assert one_line(live.run("send", "wholly-other")).endswith("no wholly-other here")
    assert 'note text="7"' in live.run("history", "--commands").out


def test_a_setting_and_a_pause_survive_deployments_kills_and_supervisors(live: Live) -> None:
    def source(default: int) -> str:
        first = FIRST.replace("most: int = 5", f"most: int = {default}")
        says = SOURCE.replace(
            "self.state.ticks += 1", 'self.state.ticks += 1\n        say(f"most {self.settings.most}")'
        )
        return bot(says, state="ticks: int = 0\nsum: int = 0", first=first)

    code = live.code("v1", source(5))
    up = live.up(code)
    live.prints("most", lambda lines: lines[-1:] == ["5"])
    changed = live.ask("settings", set={"mode": "fast"})
    assert changed["changes"] == {"mode": {"old": "slow", "new": "fast"}}
    live.ask("settings", set={"most": 7})
    live.ask("halt", confirm="fox")
    assert live.deploy(live.code("v2", source(50)))["outcome"] == "done"
    live.prints("most", lambda lines: lines[-1:] == ["7"])
    status = live.status()
    assert status["state"] == "paused"
    assert status["settings"] == {"values": {"most": 7, "mode": "fast"}, "chosen": ["most", "mode"]}
    assert status["commands"] == ["add"]

    up.kill()
    up.ends()
    live.up(code)
    assert live.status()["settings"]["values"] == {"most": 7, "mode": "fast"}
    assert live.ask("settings", reset=["most"])["values"] == {"most": 50, "mode": "fast"}
    refused = live.answer(
        live.send(
            "deploy",
            path=str(live.code("v3", source(5).replace('mode: str = "slow"', "mode: int = 1"))),
            wait=True,
        )
    )
    assert refused["error"]["code"] == "aborted"
    assert "setting 'mode': expected a whole number, got text" in refused["error"]["message"]
    live.down()
    live.audit()

    live.up(code)
    assert live.status()["settings"]["values"]["mode"] == "fast"
    assert live.status()["paused"]
    live.down()


LOOP = """
    class Limits(msgspec.Struct, frozen=True):
        most: int = 5


    def main():
        loop = join(Book, settings=Limits(), tick="10ms")
        for tick in loop:
            tick.state.ticks += 1
            if tick.halt:
                say(f"halted {loop.paused}")
            for command in tick.commands:
                tick.answers[command.key] = {"most": loop.settings.most, "paused": loop.paused}
    """


def test_a_loop_has_settings_and_is_halted_like_the_class(live: Live) -> None:
    live.up(live.code("v1", loop(LOOP), target="main"))
    assert live.ask("send", name="look")["value"] == {"most": 5, "paused": False}
    assert live.ask("settings", set={"most": 7})["changes"] == {"most": {"old": 5, "new": 7}}
    refused = live.answer(live.send("settings", set={"most": "x"}))
    assert refused["error"]["code"] == "bad-input"
    assert live.ask("halt", confirm="fox")["paused"]
    assert live.deploy(live.code("v2", loop(LOOP) + "# 2\n", target="main"))["outcome"] == "done"
    assert live.ask("send", name="look")["value"] == {"most": 7, "paused": True}
    assert live.printed("halted") == ["True"]
    live.down()
