"""Bots as their authors would write them: the part that a test is about, and ordinary code around it."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

__all__ = ["COUNT", "COUNTER", "STEADY", "bot", "loop", "waits"]

_HEAD = """\
import asyncio
import multiprocessing
import os
import subprocess
import sys
import time

import msgspec

from neverblink.worker import Table, Window, Worker, join, migration


def say(text):
    # One write: a bot that is killed leaves no half line.
    os.write(1, f"{text}\\n".encode())

"""

COUNT = """
    def on_tick(self, tick):
        self.state.ticks += 1
        say(f"tick {tick.seq}")
    """
"""Count the ticks, and print the index of each."""

_ANSWER = """
    def on_command(self, name, args):
        return {"pid": os.getpid(), **msgspec.to_builtins(self.state)}
    """


def bot(handlers: str = COUNT, *, tick: str = "10ms", state: str = "ticks: int = 0", first: str = "") -> str:
    """The source of a bot: the class `Bot` with these `handlers` and attributes, and the state `Book`.

    Without an `on_command` of its own it answers every command with its pid and its state. `first` comes after the
    imports.
    """
    if "def on_command" not in handlers:
        handlers = dedent(handlers) + dedent(_ANSWER)
    return (
        _HEAD
        + dedent(first)
        + "\n\nclass Book(msgspec.Struct):\n"
        + indent(dedent(state).strip(), "    ")
        + f'\n\n\nclass Bot(Worker[Book]):\n    tick = "{tick}"\n\n'
        + indent(dedent(handlers).strip(), "    ")
        + "\n"
    )


def waits(
    hook: str, gate: Path, also: str = COUNT, *, tick: str = "10ms", state: str = "ticks: int = 0"
) -> str:
    """The source of a bot whose `hook` says "waits" and its pid, and then waits until `gate` exists."""
    waiting = f"""
        async def {hook}(self, *_):
            say(f"waits {{os.getpid()}}")
            while not os.path.exists({str(gate)!r}):
                await asyncio.sleep(0.01)
        """
    return bot(dedent(waiting) + dedent(also), tick=tick, state=state)


def loop(source: str) -> str:
    """The source of a bot that is a function `main`, with the state `Book`."""
    return _HEAD + "\n\nclass Book(msgspec.Struct):\n    ticks: int = 0\n\n\n" + dedent(source).strip() + "\n"


COUNTER = bot()
STEADY = bot(tick="50ms")
"""The same at a tick that a busy machine keeps: for a test that no tick may be missed in, and not about short ticks.

A machine may not run a process for some 20 ms. In a handoff that is two ticks of 10 ms, which no worker runs.
"""
