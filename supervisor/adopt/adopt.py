"""Adopts a script: the change that puts it on neverblink, its configuration, and what its author has to decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from .adopt_error import AdoptError
from .cautions import Caution, cautions, third_party, written_files
from .fields import variables
from .loops import EndlessLoop, joins, loops
from .rewrite import Rewrite
from .scheduler import finished, with_plain_loop
from .script import Script
from .source import read_script

__all__ = ["AdoptedScript", "adopt"]


class AdoptedScript(msgspec.Struct, frozen=True):
    """The result: the new text and the difference. `joins` is the line where the script joins already, else None."""

    text: str
    diff: str
    bot: str
    """The function that the configuration names."""
    config: str
    """The text of neverblink.toml."""
    fields: tuple[dict[str, Any], ...] = ()
    """The state: name, type and default of each field."""
    cautions: tuple[Caution, ...] = ()
    libraries: tuple[str, ...] = ()
    """The packages of others that the script imports."""
    files: tuple[str, ...] = ()
    """Files that it writes, which move to the data directory."""
    joins: int | None = None


def adopt(path: Path) -> AdoptedScript:
    """Read the script at `path` and change it. Raises `AdoptError`."""
    original = read_script(path)
    line = joins(Script(original))
    if line is not None:
        return AdoptedScript(original.text, "", "", "", joins=line)
    source = with_plain_loop(read_script(path))
    script = Script(source)
    loop = _main_loop(script)
    rewrite = Rewrite(script, loop)
    text = finished(rewrite.carry_out(), rewrite.tick)
    diff = original.diff(text)
    config = f'name = "{_name(path)}"\nbot = "{path.stem}:{rewrite.bot}"\n'
    if rewrite.feed:
        config += f'\n[feeds.messages]\nrun = "{path.stem}:{rewrite.feed}"\n'
    return AdoptedScript(
        text=text.replace("\n", original.newline),
        diff=diff,
        bot=f"{path.stem}:{rewrite.bot}",
        config=config,
        fields=tuple({"name": one.name, "type": one.type, "default": one.default} for one in rewrite.fields),
        cautions=tuple(cautions(script, loop, rewrite.found, rewrite.handled)),
        libraries=tuple(third_party(script)),
        files=tuple(sorted(written_files(script))),
    )


def _main_loop(script: Script) -> EndlessLoop:
    """The loop that becomes that of the bot: of several, the one that changes most, then the one that sleeps least."""
    found = loops(script)
    path = script.source.path
    sleeping = [loop for loop in found if loop.stream is None and any(not one.failed for one in loop.sleeps)]
    if sleeping:
        return min(sleeping, key=lambda loop: (-_changes(script, loop), loop.period(script)[1]))
    streams = [loop for loop in found if loop.stream is not None]
    if streams:
        return streams[0]
    if found:
        raise AdoptError(
            path,
            f"line {found[0].node.lineno}: this loop does not sleep. If it waits for messages, move that into a "
            "function of a feed, and take them from tick.events; otherwise let it sleep as long as a round should take",
        )
    raise AdoptError(
        path,
        "has no loop that runs when it is started: expected `while True:` with a sleep, or `async for` over messages, "
        "in the module or in a function that it calls",
    )


def _changes(script: Script, loop: EndlessLoop) -> int:
    """How many variables of the state a loop changes in its own functions."""
    if loop.function is None:
        return 0
    own = script.reached([loop.function])
    return sum(
        1
        for variable in variables(script, loop)
        if any(script.scopes.of[node].function in own for node in variable.changed)
    )


def _name(path: Path) -> str:
    return path.stem.strip("._-")[:64] or "bot"
