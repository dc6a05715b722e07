"""run, test, shell: the project's code in its own environment, without a deployment."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click
import msgspec

from ...protocol.assignment import SHELL_STATE, SOURCES
from ...protocol.errors import NeverblinkError
from ..release.copy_tree import LEFT_OUT
from ..state.reader import StateReader
from ..store.alone_lock import AloneBusy, hold_alone, why_live
from ..store.state_dir import DIRECTORY, Home, home_path
from ..system.errors import Refusal
from ..workers.env_file import bot_environment
from .child import exit_of_child, run_in_terminal
from .command import Done, local_command
from .context import CommandContext
from .exit_codes import BadInput
from .project_environment import ProjectEnvironment, ready_environment

__all__ = ["run", "shell", "test"]


@local_command
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A data directory of its own, instead of the live bot's.",
)
@click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keys of its own, instead of those in env_file.",
)
def run(context: CommandContext, data: Path | None, env_file: Path | None) -> Done:
    """Run the bot alone in this terminal, until Ctrl-C: to try things out.

    It runs the project's files as they are, in the environment that a deployment would build, with env_file and
    NEVERBLINK_DATA. It is not live: no supervisor, no journal, and it starts with an empty state each time.

    Refused while the bot is live, since two bots would trade with the same keys, unless --data and --env-file give this
    one its own.
    """
    config = context.config
    own_data = context.path(data) if data is not None else None
    own_keys = context.path(env_file) if env_file is not None else None
    lock = _own_or_locked(context, own_data, own_keys)
    try:
        ready = ready_environment(context)
        place = own_data or ready.data
        environment = bot_environment(own_keys or config.env_file, place, context.environment)
        screen = context.screen
        keys = own_keys or config.env_file
        real = f", and its orders are real if the keys in {keys} are" if keys is not None else ""
        screen.line(
            screen.warn(f"{config.name} runs alone, not live: its state is not kept{real}. Ctrl-C stops it")
        )
        status = run_in_terminal(
            [ready.interpreter(), "-m", "neverblink.worker", "--alone", config.bot],
            config.directory,
            environment,
            output_to_stderr=context.as_json,
            pass_fds=() if lock is None else (lock,),
        )
    finally:
        if lock is not None:
            os.close(lock)
    result = {"bot": config.name, "python": ready.config.python, "data": str(place), "status": status}
    return Done(result, exit_of_child(status))


def _own_or_locked(context: CommandContext, data: Path | None, env_file: Path | None) -> int | None:
    """Lock the bot's home; None when this bot has its own data and keys, and needs no lock.

    Raises `AloneBusy` when the bot is live or runs alone already.
    """
    config = context.config
    usual = (home_path(config.directory, context.environment), config.directory / DIRECTORY)
    homes = {home.path: home for home in (context.home, *map(Home, usual))}
    used = {(config.data or home.data).resolve() for home in homes.values()}
    own_data = data is not None and data.resolve() not in used
    own_keys = config.env_file is None or (env_file is not None and env_file != config.env_file)
    if own_data and own_keys:
        return None
    lock = hold_alone(Home.open(context.home.path))
    try:
        for home in homes.values():
            if live := why_live(home):
                needed = [
                    *([] if own_data else ["--data DIR"]),
                    *([] if own_keys else ["--env-file FILE"]),
                ]
                raise AloneBusy(
                    f"{config.name} is live in {home.path}: {live}. A second one would trade beside it. Stop it with "
                    f"`neverblink down`, or give this one its own {' and '.join(needed)}"
                )
    except BaseException:
        os.close(lock)
        raise
    return lock


@local_command
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
def test(context: CommandContext, args: tuple[str, ...]) -> Done:
    """Run the project's tests, with pytest, or else with unittest. ARGS go to that program.

    They run in the environment of [deploy] check: the bot's, with the dependency group dev. Like the check, they do not
    get the variables in env_file, so that a test cannot trade. Their data directory is empty.
    """
    ready = ready_environment(context, tools=True)
    directory, python = ready.config.directory, ready.interpreter()
    runner, command = _test_command(python, directory, ready, args)
    with tempfile.TemporaryDirectory(prefix="neverblink-test-") as data:
        environment = {**ready.variables(), "NEVERBLINK_DATA": data}
        if (directory / SOURCES).is_dir():
            environment["PYTHONPATH"] = str(directory / SOURCES)
        status = run_in_terminal([python, *command], directory, environment, output_to_stderr=context.as_json)
    result = {"ok": status == 0, "runner": runner, "python": python, "status": status}
    return Done(result, exit_of_child(status))


def _test_command(
    python: str, directory: Path, ready: ProjectEnvironment, args: tuple[str, ...]
) -> tuple[str, list[str]]:
    """The program that runs the tests, and its arguments. Raises `BadInput` when there are none that it can run."""
    if _has(python, "pytest", directory, ready):
        return "pytest", ["-m", "pytest", *args]
    files = _test_files(directory)
    if not files and not args:
        raise BadInput(f"there are no tests in {directory}: expected files named test_*.py")
    wants_pytest = next((file for file in files if not _is_unittest(file)), None)
    if wants_pytest is not None and not args:
        raise BadInput(
            f"{wants_pytest.relative_to(directory)} needs pytest, which is not in the bot's environment: add "
            f'[dependency-groups] with dev = ["pytest"] to pyproject.toml, or install it for {python}'
        )
    inside = directory / "tests"
    apart = inside.is_dir() and not (inside / "__init__.py").exists() and not list(directory.glob("test*.py"))
    return "unittest", ["-m", "unittest", *(args or ("discover", "-s", "tests" if apart else "."))]


def _has(python: str, module: str, directory: Path, ready: ProjectEnvironment) -> bool:
    look = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    done = subprocess.run(
        [python, "-c", look], cwd=directory, env=ready.variables(), capture_output=True, check=False
    )
    return done.returncode == 0


def _test_files(directory: Path) -> list[Path]:
    found: list[Path] = []
    for place, inner, files in os.walk(directory):
        inner[:] = [
            name
            for name in inner
            if name not in LEFT_OUT and not (Path(place) / name / "pyvenv.cfg").exists()
        ]
        found += [Path(place) / name for name in files if name.startswith("test") and name.endswith(".py")]
    return sorted(found)


def _is_unittest(file: Path) -> bool:
    return "unittest" in file.read_text(encoding="utf-8", errors="replace")


@local_command
@click.option("-c", "--command", metavar="CODE", help="Run this code instead of a prompt.")
def shell(context: CommandContext, command: str | None) -> Done:
    """Open a Python prompt in the bot's environment, with the bot imported.

    It has the bot's module, its class under its name, and `state`: a copy of the running bot's state, or of the state
    with which the bot would start. Changing the copy changes nothing in the bot. It has the variables of the bot, so
    keys in env_file can be used.
    """
    ready = ready_environment(context)
    config = ready.config
    with tempfile.TemporaryDirectory(prefix="neverblink-shell-") as place:
        environment = bot_environment(config.env_file, ready.data, context.environment)
        environment[SHELL_STATE] = msgspec.json.encode(_state_for_shell(ready, Path(place))).decode()
        more = [] if command is None else [command]
        status = run_in_terminal(
            [ready.interpreter(), "-m", "neverblink.worker", "--shell", config.bot, *more],
            config.directory,
            environment,
            output_to_stderr=context.as_json,
        )
    return Done({"bot": config.name, "status": status}, exit_of_child(status))


def _state_for_shell(ready: ProjectEnvironment, place: Path) -> dict[str, str]:
    """Where the shell finds the state; empty when there is none."""
    journal = ready.home.journal
    if not any(journal.iterdir()):
        return {}
    try:
        document: dict[str, Any] = StateReader(ready.home).export("")
    except (Refusal, NeverblinkError):
        return {"journal": str(journal), "about": "of the journal"}
    plain = place / "state.json"
    plain.write_bytes(msgspec.json.encode(document.get("state")))
    live = why_live(ready.home)
    point: dict[str, Any] = document.get("point") or {}
    about = f"of {'the running bot' if live else 'the bot, which does not run'}, tick {point.get('seq')}"
    return {"journal": str(journal), "plain": str(plain), "about": about}


# What follows the first argument or unknown option is for the tests' program.
test.context_settings = {"ignore_unknown_options": True, "allow_interspersed_args": False}
