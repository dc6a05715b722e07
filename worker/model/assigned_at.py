"""Where the bot's source writes to a field of the state, to name it in a message.

A value is read back between two turns, when the line that wrote it has long been left. Its source still shows which
lines can have done so. A leader has no time to parse it, so this is a search for text.
"""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["assigned_at"]

_MOST = 5
"""Where there are more such lines, they are no help."""
_LARGEST = 20_000
"""Lines of a module that is not searched: that takes too long."""
_WRITES = r"""
    \. {field} \b
    (?: \s* \[ [^\n]* \] )?                     # into it
    \s*
    (?:
        (?: [-+*/%&|^@]|//|\*\*|<<|>> )? = (?!=)
        | \. (?: add|append|appendleft|extend|insert|setdefault|update ) \(
    )
"""


def assigned_at(modules: Iterable[str], field: str) -> tuple[str, ...]:
    """The lines, as `bot.py:34`, at which these modules write to an attribute of that name or into it.

    Empty when there are none, or more than a person would look at.
    """
    found: list[str] = []
    writes = re.compile(_WRITES.format(field=re.escape(field)), re.VERBOSE)
    for name in dict.fromkeys(modules):
        path = getattr(sys.modules.get(name), "__file__", None) or ""
        lines = linecache.getlines(path) if path.endswith(".py") else []
        if len(lines) <= _LARGEST:
            found += [
                f"{Path(path).name}:{number}"
                for number, line in enumerate(lines, 1)
                if field in line and not line.lstrip().startswith("#") and writes.search(line)
            ]
    return tuple(found) if len(found) <= _MOST else ()
