"""top: a live view of the bot in a terminal."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click
import msgspec
from rich.console import Group
from rich.live import Live

from ...protocol.commands import Pause, Resume
from ..terminal.console import SafeConsole
from ..terminal.deployment_lines import DeploymentLine
from .command import Done, remote_command
from .context import CommandContext
from .exit_codes import Exit
from .top_screen import KEYS, draw
from .top_source import TopSource, look_once
from .top_view import TopSnapshot, TopView

__all__ = ["top"]

_DRAW_EVERY = 0.25
_SHOWN = 24
_TICKS = 600
"""In the answer of `--json`."""


@remote_command
@click.option("--once", is_flag=True, help="Print one picture and exit.")
def top(context: CommandContext, once: bool) -> Done:
    """Watch the bot: who leads, what comes next, every tick, and a deployment as it happens.

    \b
    Keys:
      q, Ctrl-C, Ctrl-D  quit
      p                  pause the bot, or resume it; y confirms, any other key does not
      d                  show the command that deploys
      r                  show the command that rolls back

    It keeps running while the supervisor is away, and shows that it is. Without a terminal, or with --once, it prints
    one picture; with --json, its data with the last ticks.
    """
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    first = look_once(context)
    if context.as_json:
        return _answer(first.picture())
    if once or not terminal:
        picture = first.picture()
        console = SafeConsole()
        for line in draw(picture, console.width, _SHOWN, bottom=""):
            console.print(line, no_wrap=True, crop=True)
        return Done(exit=_exit(picture))
    _watch(context)
    return Done()


def _watch(context: CommandContext) -> None:
    view = TopView(measured=not context.server)
    source = TopSource(context, view)
    console = SafeConsole()
    asks = ""
    try:
        with _keys() as key, Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                picture = view.picture()
                lines = draw(picture, console.width, console.height, f"{asks}? y/n" if asks else KEYS)
                live.update(Group(*lines), refresh=True)
                match key(_DRAW_EVERY):
                    case "q" | "\x04" | None:
                        return
                    case "y" if asks:
                        command = Resume(why="top") if asks.startswith("resume") else Pause(why="top")
                        source.ask(command, "done")
                        view.say(f"{asks}: asked")
                        asks = ""
                    case "p" if not asks:
                        paused = picture.status is not None and picture.status.paused
                        asks = "resume the bot" if paused else "pause the bot"
                    case "d":
                        view.say("in another terminal:  neverblink deploy PATH")
                    case "r":
                        view.say("in another terminal:  neverblink rollback")
                    case "":
                        pass
                    case _:
                        asks = ""
    except KeyboardInterrupt:
        return
    finally:
        source.close()


@contextmanager
def _keys() -> Generator[Any]:
    """Yield a function that waits up to some seconds for a key: "" for none, None when input has ended.

    Restores the terminal at the end in every case.
    """
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    ended: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        ended.append(number)

    def go_on(_: int, __: FrameType | None) -> None:
        # The shell has changed the terminal's settings while we were stopped.
        tty.setcbreak(keyboard)

    handlers = {signal.SIGTERM: end, signal.SIGHUP: end, signal.SIGCONT: go_on}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}

    def key(seconds: float) -> str | None:
        if ended:
            return None
        readable, _, _ = select.select([keyboard], [], [], seconds)
        if not readable:
            return None if ended else ""
        try:
            # Pasted text and arrow keys are several characters: the first one counts.
            return os.read(keyboard, 1024).decode(errors="replace")[:1] or None
        except OSError:
            return None

    try:
        tty.setcbreak(keyboard)
        yield key
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _answer(picture: TopSnapshot) -> Done:
    result = {
        "status": picture.status,
        "ticks": picture.seen[-_TICKS:],
        "deployment": {
            "number": picture.deployment,
            "phase": picture.phase,
            "lines": [_line(line) for line in picture.lines],
        }
        if picture.deployment
        else None,
    }
    return Done(msgspec.to_builtins(result, enc_hook=str), _exit(picture))


def _line(line: DeploymentLine) -> dict[str, Any]:
    return {"name": line.name, "text": line.details, "took": line.took, "bad": line.bad}


def _exit(picture: TopSnapshot) -> Exit:
    return Exit.DOWN if picture.status is not None and picture.status.state == "down" else Exit.DONE
