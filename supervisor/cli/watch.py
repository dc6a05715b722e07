"""watch: deploys to a development bot whenever a file of the project is saved.

A home that `watch` has made has the file `development`. In any other home the bot may be live, and a half-written
change must not reach it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import click

from ...protocol.commands import Deploy, Down
from ...protocol.errors import NeverblinkError
from ..release.copy_tree import LEFT_OUT, digest_of
from ..release.ignore import Ignore
from ..store.state_dir import DIRECTORY, Home
from ..terminal.screen import Screen
from .command import Done, local_command
from .context import CommandContext
from .exit_codes import BadInput
from .run_deployment import RELEASE_WITHIN, Interrupts, follow, result_of

__all__ = ["watch"]

_MARK = "development"
_QUIET_S = 0.3
"""A save is complete when nothing has changed for so long."""
_LOOK_EVERY_S = 1.0
"""Where the kernel reports no changes, the files are compared this often."""
_STARTS_WITHIN_S = 600.0


@local_command
@click.option("--live", is_flag=True, help="Also where the bot may be live: every save reaches it.")
def watch(context: CommandContext, live: bool) -> Done:
    """Deploy to a development bot whenever a file of the project is saved, until Ctrl-C.

    The development bot has a home of its own, `.neverblink/dev` in the project, or the one that --home names. `watch`
    starts it there, and stops it at the end. A deployment that fails is shown, and the old code goes on.

    A home that `watch` has not made is refused, since its bot may be live; --live allows it.
    """
    config = context.config
    home = context.home if _is_named(context) else Home(config.directory / DIRECTORY / "dev")
    _claim(home, live=live)
    # The commands below ask the supervisor of that home.
    beside = CommandContext(
        as_json=context.as_json,
        home_option=home.path,
        project_option=config.directory,
        environment=context.environment,
        cwd=context.cwd,
        screen=context.screen,
    )
    watcher = _Watcher(beside, config.directory, home)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watcher.run())
    watcher.close()
    return Done({"home": str(home.path), "deployed": watcher.deployed, "failed": watcher.failed})


def _is_named(context: CommandContext) -> bool:
    given = click.get_current_context().get_parameter_source("home")
    return (given is not None and given.name != "DEFAULT") or bool(context.environment.get("NEVERBLINK_HOME"))


def _claim(home: Home, *, live: bool) -> None:
    """Mark a new home as one for development. Raises `BadInput` for one that has been made otherwise."""
    if (home.path / _MARK).is_file() or live:
        return
    if home.path.is_dir() and any(home.path.iterdir()):
        raise BadInput(
            f"home {home.path} was not made by `watch`, so its bot may be live: leave --home and NEVERBLINK_HOME out, "
            "name a new directory, or use --live"
        )
    Home.open(home.path)
    (home.path / _MARK).write_text("made by `neverblink watch`: every save is deployed to this bot\n")


class _Watcher:
    """Starts the bot of `home` and deploys `project` to it after each save."""

    def __init__(self, context: CommandContext, project: Path, home: Home) -> None:
        self.deployed = 0
        self.failed = 0
        self._context = context
        self._screen: Screen = context.screen
        self._project = project
        self._home = home
        self._up: subprocess.Popen[bytes] | None = None
        self._log = home.logs / "up.log"

    async def run(self) -> None:
        """Deploy after each save, until it is cancelled."""
        named = os.path.relpath(self._home.path)
        self._screen.line(
            f"watching {self._project}; the bot's output: neverblink logs -f --home {named}. Ctrl-C ends it"
        )
        known = ""
        async for _ in _changes(self._project, self._screen):
            # Once more after each deployment, during which files may have changed.
            while (now := self._digest()) and now != known:
                first, known = not known, now
                self._deploy(first=first)

    def close(self) -> None:
        """Stop the bot if this watch has started it."""
        if self._up is None:
            return
        with contextlib.suppress(NeverblinkError), self._context.client() as client:
            client.ask(Down(why="watch ended"), within=60)
        self._up.wait()

    def _digest(self) -> str:
        """A digest of what a release would hold; "" while files change."""
        try:
            return digest_of(self._project, (self._home.path,), Ignore.of(self._project))
        except (NeverblinkError, OSError):
            return ""

    def _deploy(self, *, first: bool = False) -> None:
        """Deploy the project, or start the bot if it is down; show the result in a line."""
        if self._home.owner() is None or (self._up is not None and self._up.poll() is not None):
            self._start()
            return
        if first:
            self._screen.line("the bot runs already")
        try:
            with self._context.client() as client, Interrupts() as interrupts, client.events() as events:
                begun: dict[str, Any] = client.ask(
                    Deploy(path=str(self._project), why="watch"), within=RELEASE_WITHIN
                )
                silent = Screen(open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
                result = result_of(follow(client, events, begun["deployment"], silent, interrupts))
                if interrupts.wanted:
                    raise KeyboardInterrupt
        except NeverblinkError as problem:
            self._tell(False, problem.message)
        else:
            done = result.outcome == "done"
            took = f"{sum(result.phases.values()) / 1e3:.1f} s" if result.phases else ""
            self._tell(
                done,
                f"{result.release} leads, {took}"
                if done
                else f"{result.outcome.replace('_', ' ')}: {result.reason}",
            )

    def _start(self) -> None:
        """Start the bot, and wait until it leads or has failed."""
        command = [sys.executable, "-m", "neverblink.supervisor.cli", "up", "--from", str(self._project)]
        command += ["--project", str(self._project), "--home", str(self._home.path)]
        Home.open(self._home.path)
        with self._log.open("wb") as log:
            # In a session of its own: a Ctrl-C here must reach it as `down` does.
            self._up = subprocess.Popen(
                command,
                cwd=self._project,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + _STARTS_WITHIN_S
        while time.monotonic() < until:
            if self._up.poll() is not None:
                lines = self._log.read_text(errors="replace").splitlines()
                self._tell(False, f"the bot did not start: {lines[-1] if lines else 'see ' + str(self._log)}")
                return
            if "up: Ctrl-C stops the bot" in self._log.read_text(errors="replace"):
                self._tell(True, "the bot runs")
                return
            time.sleep(0.05)

    def _tell(self, good: bool, text: str) -> None:
        self.deployed += good
        self.failed += not good
        mark = self._screen.good("✓") if good else self._screen.bad("✗")
        self._screen.line(f"{time.strftime('%H:%M:%S')} {mark} {text}")


async def _changes(project: Path, screen: Screen) -> AsyncGenerator[None]:
    """Yields at once, and then whenever files below `project` have changed and are quiet again."""
    from asyncinotify import Inotify, Mask

    try:
        inotify = Inotify()
    except OSError as problem:
        screen.line(
            screen.warn(
                f"the files are compared each second, since inotify is not available: {problem.strerror}"
            )
        )
        while True:
            yield
            await asyncio.sleep(_LOOK_EVERY_S)
    mask = Mask.CLOSE_WRITE | Mask.CREATE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE
    with inotify:
        watched: set[Path] = set()
        while True:
            for place in _directories(project):
                if place not in watched:
                    with contextlib.suppress(OSError):
                        inotify.add_watch(place, mask)  # pyright: ignore[reportUnknownMemberType]
                        watched.add(place)
            yield
            # Without an event, the files are compared all the same now and then: a queue can overflow.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(inotify.get(), 60)
            while True:
                try:
                    await asyncio.wait_for(inotify.get(), _QUIET_S)
                except TimeoutError:
                    break


def _directories(project: Path) -> Iterator[Path]:
    """The directories of the project that can be part of a release."""
    for place, inner, _ in os.walk(project):
        inner[:] = [
            name
            for name in inner
            if name not in LEFT_OUT and not (Path(place) / name / "pyvenv.cfg").exists()
        ]
        yield Path(place)
