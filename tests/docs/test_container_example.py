"""The container example: what its files call exists, and both say the same."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from click import Context

from neverblink.supervisor.cli.command_group import neverblink

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "container"
DOCKERFILE = (EXAMPLE / "Dockerfile").read_text()
COMPOSE = (EXAMPLE / "compose.yaml").read_text()


def instruction(name: str) -> str:
    """The last instruction of this name, in one line."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)[-1]


def exists(command: list[str]) -> None:
    """The subcommand exists, and takes these options."""
    assert command[0] == "neverblink"
    context = Context(neverblink)
    found = neverblink.get_command(context, command[1])
    assert found is not None, command
    known = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in command[2:] if word.startswith("--")} <= known


def test_every_command_in_the_dockerfile_exists() -> None:
    exists(json.loads(instruction("CMD")))
    exists(json.loads(instruction("HEALTHCHECK").partition("CMD ")[2]))
    exists(shlex.split(instruction("RUN")))


def test_compose_keeps_the_home_of_the_dockerfile_and_uses_the_same_health_check() -> None:
    assert f"- home:{instruction('VOLUME')}" in COMPOSE
    check = json.loads(re.findall(r"test: (\[.*\])", COMPOSE)[0])
    assert check[1:] == json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])


def test_the_bot_does_not_run_as_root_and_the_container_stops_it_cleanly() -> None:
    assert instruction("USER") == "bot"
    assert instruction("STOPSIGNAL") == "SIGTERM"
    assert re.search(r"stop_grace_period: (\d+)s", COMPOSE)
    # Exec form: a shell as PID 1 would keep the signal to itself.
    assert instruction("CMD").startswith("[")
