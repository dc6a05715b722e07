"""What is given twice is refused: which of the two is meant cannot be known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from neverblink.protocol.commands import Send
from neverblink.supervisor.cli.command_group import neverblink
from neverblink.supervisor.cli.exit_codes import Exit

from .fake_supervisor import FakeSupervisor

SENT: dict[str, Any] = {
    "send": {"value": "done", "seq": 1},
    "commands": {"commands": []},
    "settings": {"values": {}},
}


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(neverblink, [str(arg) for arg in args])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["send", "cmd", 'a={"x":1,"x":2}'], '"x" is there twice'),
        (["send", "cmd", 'a=[{"x":{"y":1,"y":2}}]'], '"y" is there twice'),
        (["send", "cmd", "--args", '{"x":1,"x":2}'], '"x" is there twice'),
        (["send", "cmd", "a=1", "a=2"], "a is given twice"),
        (["send", "cmd", "--args", '{"a":1}', "a=2"], "a is given twice"),
        (["settings", "a=1", "a=2"], "a is given twice"),
        (["settings", 'a={"x":1,"x":1}'], '"x" is there twice'),
        (["pause", "-m", "one", "--why", "two"], "is given twice"),
        (["history", "-n", "3", "-n", "4"], "is given twice"),
    ],
)
def test_repeated_keys_and_options_are_refused(tmp_path: Path, given: list[str], says: str) -> None:
    with FakeSupervisor(tmp_path, SENT) as fake_supervisor:
        refused = run(*given, "--home", tmp_path)
        assert (refused.exit_code, says in refused.stderr) == (Exit.BAD_INPUT, True), refused.stderr
        assert "give it once" in refused.stderr
        assert not [request for request in fake_supervisor.asked if isinstance(request, Send)]


def test_text_and_repeatable_options_are_accepted(tmp_path: Path) -> None:
    with FakeSupervisor(tmp_path, SENT):
        assert run("send", "cmd", "a=x=1", "--home", tmp_path).exit_code == Exit.DONE
        # An alias may name one place for the bot, and its user another.
        assert run("--home", "/nowhere", "send", "cmd", "--home", tmp_path).exit_code == Exit.DONE


@pytest.mark.parametrize("name", ["", "  "])
def test_a_command_without_a_name_is_refused(tmp_path: Path, name: str) -> None:
    with FakeSupervisor(tmp_path, SENT):
        refused = run("send", name, "--home", tmp_path)
        assert (refused.exit_code, "a command name is missing" in refused.stderr) == (Exit.BAD_INPUT, True)
