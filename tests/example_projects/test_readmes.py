"""The examples' README pages: each command exists, and works in the order in which the page has it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable

import pytest
from click import Context, Group

from neverblink.supervisor.cli.command_group import neverblink

from ..matrix import cases
from ..ports import free_port
from ..whole.live import NEVERBLINK, Live
from .example import EXAMPLES, Example
from .test_projects import NEEDS_RIVER, PROJECTS, each


def commands(name: str) -> list[list[str]]:
    """The words of each `neverblink` command on the page, without the comment behind it."""
    page = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    lines = "\n".join(re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)).splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    found = [words[1:] if words and "=" in words[0] else words for words in found]
    return [words[1:] for words in found if words and words[0] == "neverblink"]


@each
def test_every_command_exists(name: str) -> None:
    said = commands(name)
    assert len(said) > 8
    bot = (EXAMPLES / name / "bot.py").read_text(encoding="utf-8")
    for words in said:
        group: Group = neverblink
        found = group.get_command(Context(group), words[0])
        assert found is not None, words
        while isinstance(found, Group):
            group, words = found, words[1:]
            found = group.get_command(Context(group), words[0])
            assert found is not None, words
        known = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, words
        if words[0] == "send":
            assert re.search(rf"@command\n    def {words[1]}\(", bot), words


@pytest.mark.parametrize("name", cases(PROJECTS))
def test_the_commands_work_in_the_order_of_the_page(
    name: str, live: Live, start_example: Callable[..., Example], request: pytest.FixtureRequest
) -> None:
    python = request.getfixturevalue("river") if name in NEEDS_RIVER else sys.executable
    example = start_example(name, python=python, check=True, SPEEDUP="60")
    if name == "websocket-aggregator":
        example.edit("neverblink.toml", "127.0.0.1:8794", f"127.0.0.1:{free_port()}")
    up = False
    for words in commands(name):
        if words[0] == "up":
            example.up()
            up = True
            continue
        if words[:2] == ["state", "diff"]:
            # The bot is old enough for the page's reader, too.
            example.until(lambda: (now := live.status())["at"] - now["since"] > 15_000_000_000)
        # A command that asks a person for the name of the bot gets it.
        done = subprocess.run(
            [*NEVERBLINK, *words],
            cwd=example.place,
            env=live.environment,
            input=f"{name}\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout + done.stderr)
    assert up
