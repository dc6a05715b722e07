"""halt, settings and commands on the command line, and their rows in `history --commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from neverblink.protocol.commands import Command, Fault, Halt, Send, Settings
from neverblink.protocol.events import Commanded
from neverblink.supervisor.cli.command_group import neverblink
from neverblink.supervisor.cli.exit_codes import Exit
from neverblink.supervisor.store.history_db import HistoryDb
from neverblink.supervisor.store.state_dir import Home

from ..fake_supervisor import FakeSupervisor

HALTED = {"paused": True, "halted": True, "value": {"BTC": 2.0}, "seq": 7}
NOW = {
    "values": {"max_position": 3, "mode": "slow"},
    "chosen": ["max_position"],
    "schema": {
        "properties": {
            "max_position": {"type": "integer", "minimum": 0, "default": 5},
            "mode": {"enum": ["slow", "fast"], "default": "slow"},
        }
    },
}


def run(home: Path, *args: str, typed: str = "") -> Result:
    return CliRunner().invoke(neverblink, [*args, "--home", str(home)], input=typed)


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_a_halt_is_confirmed_by_typing_the_name_of_the_bot(tmp_path: Path) -> None:
    with FakeSupervisor(tmp_path / "home", {"status": {"bot": "foresight"}, "halt": HALTED}) as there:
        wrong = run(there.home.path, "halt", typed="fox\n")
        assert wrong.exit_code == Exit.BAD_INPUT
        assert '"fox" is not the bot\'s name, so nothing was done: its name is foresight' in wrong.stderr
        silent = run(there.home.path, "halt")
        assert silent.exit_code == Exit.BAD_INPUT
        assert "not confirmed" in silent.stderr
        quiet = run(there.home.path, "halt", "--json")
        assert quiet.exit_code == Exit.BAD_INPUT
        assert "add --yes" in quiet.stderr
        assert "halt" not in there.ops()

        right = run(there.home.path, "halt", "-m", "the venue is down", typed="foresight\n")
        assert right.exit_code == Exit.DONE
        assert "halted foresight is paused, and its on_halt has run" in lines(right)
        halt = there.asked[-1]
        assert isinstance(halt, Halt)
        assert (halt.confirm, halt.why) == ("foresight", "the venue is down")
        assert run(there.home.path, "halt", "--yes", "--json").exit_code == Exit.DONE


def test_a_bot_without_on_halt_is_reported_as_only_paused(tmp_path: Path) -> None:
    script = {"status": {"bot": "foresight"}, "halt": {**HALTED, "halted": False, "value": None}}
    with FakeSupervisor(tmp_path / "home", script) as there:
        result = run(there.home.path, "halt", "--yes")
        assert result.exit_code == Exit.DONE
        assert lines(result) == ["paused no positions were closed: this bot has no on_halt"]


def test_settings_are_shown_with_the_changed_ones_marked(tmp_path: Path) -> None:
    with FakeSupervisor(tmp_path / "home", {"settings": NOW}) as there:
        assert lines(run(there.home.path, "settings")) == [
            "max_position 3 set, else 5 integer >=0",
            'mode "slow" "slow"|"fast"',
            "1 setting set by an operator",
        ]


TYPED = {
    "note": {"type": "string"},
    "live": {"type": "boolean"},
    "mode": {"enum": ["slow", "7"]},
    "size": {"type": "integer"},
    "word": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "legs": {"type": "array", "items": {"type": "integer"}},
    "deep": {"$ref": "#/$defs/Deep"},
}


@pytest.mark.parametrize(
    ("argument", "taken"),
    [
        ("note=7", "7"), ("note=true", "true"), ('note="7"', "7"), ("note=", ""), ("live=true", True), ("mode=7", "7"),
        ("size=7", 7), ("word=null", None), ("word=7", "7"), ("legs=[1,2]", [1, 2]), ("deep=x", "x"),
        ("else=7", 7), ("else=x", "x"),
    ],
)  # fmt: skip
def test_a_value_is_read_as_the_declared_type(tmp_path: Path, argument: str, taken: object) -> None:
    schema = {"properties": TYPED, "$defs": {"Deep": {"anyOf": [{"type": "null"}, {"type": "string"}]}}}
    script: dict[str, Any] = {
        "settings": {"schema": schema, "changes": {}},
        "commands": {"commands": [{"name": "close", "help": "", "args": schema}], "listens": False},
        "send": {"value": None, "seq": 7},
    }
    name = argument.partition("=")[0]
    with FakeSupervisor(tmp_path / "home", script) as there:
        assert run(there.home.path, "settings", argument).exit_code == Exit.DONE
        settings = there.asked[-1]
        assert isinstance(settings, Settings)
        assert settings.set == {name: taken}
        assert run(there.home.path, "send", "close", argument).exit_code == Exit.DONE
        send = there.asked[-1]
        assert isinstance(send, Send)
        assert send.args == {name: taken}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("live=yes", "live=yes: expected true or false"),
        ("mode=fast", 'mode=fast: expected "slow" or "7"'),
        ("size=many", "size=many: expected integer"),
        ("legs=1,2", "legs=1,2: expected a JSON array, as in legs='[1, 2]'"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_an_example(
    tmp_path: Path, argument: str, expected: str
) -> None:
    with FakeSupervisor(tmp_path / "home", {"settings": {"schema": {"properties": TYPED}}}) as there:
        result = run(there.home.path, "settings", argument)
        assert result.exit_code == Exit.BAD_INPUT
        assert result.stderr == f"neverblink: {expected}\n"


def test_a_command_can_be_sent_without_knowing_its_declaration(tmp_path: Path) -> None:
    script = {"commands": Fault("busy", "no worker leads"), "send": {"value": "sent", "seq": 7}}
    with FakeSupervisor(tmp_path / "home", script) as there:
        assert lines(run(there.home.path, "send", "close", "pct=2.5")) == ["sent"]
        send = there.asked[-1]
        assert isinstance(send, Send)
        assert send.args == {"pct": 2.5}


def test_the_error_for_an_unknown_command_suggests_the_declared_one(tmp_path: Path) -> None:

    def send(command: Command) -> dict[str, Any]:
        assert isinstance(command, Send)
        return {"value": "x" if command.name == "cloze" else None, "seq": 7}

    close: dict[str, Any] = {"name": "close", "help": "", "args": {}}
    script: dict[str, Any] = {"commands": {"commands": [close], "listens": True}, "send": send}
    with FakeSupervisor(tmp_path / "home", script) as there:
        assert "did you mean its command close?" in run(there.home.path, "send", "clse").stdout
        for name in ("cloze", "close", "other"):
            assert "did you mean" not in run(there.home.path, "send", name).stdout


def test_settings_are_changed_by_name(tmp_path: Path) -> None:
    changed: dict[str, Any] = {
        "changes": {"max_position": {"old": 3, "new": 4}},
        "values": {},
        "chosen": [],
        "seq": 9,
    }
    with FakeSupervisor(tmp_path / "home", {"settings": changed}) as there:
        result = run(there.home.path, "settings", "max_position=4", "mode=fast", "--reset", "x", "-m", "thin")
        assert lines(result) == ["max_position 3 -> 4"]
        asked = there.asked[-1]
        assert isinstance(asked, Settings)
        assert (asked.set, asked.reset) == ({"max_position": 4, "mode": "fast"}, ("x",))
        assert asked.why == "thin"
        bad = run(there.home.path, "settings", "max_position")
        assert bad.exit_code == Exit.BAD_INPUT
        assert "expected KEY=VALUE" in bad.stderr


def test_a_setting_that_does_not_fit_is_bad_input(tmp_path: Path) -> None:
    fault = Fault("bad-input", "setting 'max_position': Expected `int`, got `str`")
    with FakeSupervisor(tmp_path / "home", {"settings": fault}) as there:
        result = run(there.home.path, "settings", "max_position=many")
        assert result.exit_code == Exit.BAD_INPUT
        assert result.stderr.startswith("neverblink: setting 'max_position'")


def test_declared_commands_are_listed_with_their_arguments(tmp_path: Path) -> None:
    close: dict[str, Any] = {
        "name": "close",
        "help": "Sell.",
        "args": {
            "required": ["market"],
            "properties": {
                "market": {"type": "string"},
                "part": {"type": "number", "exclusiveMinimum": 0, "default": 1.0},
                "legs": {"type": "array", "items": {"$ref": "#/$defs/Leg"}, "default": []},
                "names": {
                    "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}],
                    "default": None,
                },
                "pair": {
                    "type": "array",
                    "prefixItems": [{"type": "integer"}, {"type": "string"}],
                    "items": False,
                    "default": [1, ""],
                },
                "by": {"type": "object", "additionalProperties": {"type": "integer"}, "default": {}},
            },
            "$defs": {"Leg": {"anyOf": [{"type": "integer"}, {"type": "string"}]}},
        },
    }
    script: dict[str, Any] = {"commands": {"commands": [close], "listens": True}}
    with FakeSupervisor(tmp_path / "home", script) as there:
        assert lines(run(there.home.path, "commands")) == [
            " ".join(
                (
                    "close market=string [part=number >0, else 1.0]",
                    "[legs=array of (integer|string), else []]",
                    "[names=array of string|null, else null]",
                    '[pair=array of (integer, string), else [1, ""]]',
                    "[by=object of integer, else {}] Sell.",
                )
            ),
            "other commands go to its on_command",
        ]


def test_the_history_of_commands_has_who_why_when_and_the_change(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    with HistoryDb.open(home.database, "foresight") as history:
        history.started("w1", "v1", 1, 1, Path("/log"), 1)
        facts = {"changes": {"max_position": {"old": 3, "new": 4}}}
        event = Commanded(
            bot="foresight", at=5, op="settings", who="anna", why="thin", outcome="ok",
            detail="max_position 3 -> 4", seq=9, facts=facts,
        )  # fmt: skip
        history.record(event)
        history.record(Commanded(bot="foresight", at=6, op="halt", who="", why="", outcome="bad-input"))
        for at, outcome, detail in ((3, "ok", "close"), (4, "bad-input", "close: there is no `mrket`")):
            sent = {"name": "close", "args": {"market": "BTC", "legs": [1, 2]}}
            history.record(
                Commanded(
                    bot="foresight",
                    at=at,
                    op="send",
                    who="bo",
                    why="",
                    outcome=outcome,
                    detail=detail,
                    facts=sent,
                )
            )
        refused: dict[str, Any] = {"changes": {}, "set": {"max_position": -1}, "reset": []}
        history.record(
            Commanded(
                bot="foresight", at=2, op="settings", who="bo", why="", outcome="bad-input", detail="it is >= 0",
                facts=refused,
            )
        )  # fmt: skip
    result = run(home.path, "history", "--commands")
    assert result.exit_code == Exit.DONE
    shown = lines(result)
    assert shown[0] == "WHEN COMMAND OUTCOME TICK WHO WHAT"
    assert shown[1].endswith("halt bad-input unknown")
    assert shown[2].endswith("settings ok 9 anna max_position 3 -> 4 (thin)")
    assert shown[3].endswith('send bad-input bo close market="BTC" legs=[1, 2]: there is no `mrket`')
    assert shown[4].endswith('send ok bo close market="BTC" legs=[1, 2]')
    assert shown[5].endswith("settings bad-input bo max_position=-1: it is >= 0")
    with HistoryDb.open(home.database, "foresight", read_only=True) as history:
        assert history.commands()[1].facts == facts
