"""The command that installs neverblink or one of its extras."""

from __future__ import annotations

import json
import sys
from shlex import quote
from urllib.parse import unquote, urlsplit

__all__ = ["install_command"]


def install_command(extra: str = "", python: str = sys.executable) -> str:
    """The shell command that installs neverblink with `extra` for the interpreter `python`.

    Names the directory that this neverblink was installed from, if any: usually a clone.
    """
    what = f"{_source() or 'neverblink'}{f'[{extra}]' if extra else ''}"
    return f"{quote(python)} -m pip install {quote(what)}"


def _source() -> str:
    """The directory or file that this neverblink was installed from, "" when it came from an index."""
    # Every command imports this file and few need the hint; this import takes a tenth of a command's start time.
    from importlib.metadata import distributions

    for found in distributions(name="neverblink"):
        try:
            url = urlsplit(str(json.loads(found.read_text("direct_url.json") or "{}")["url"]))
        except (ValueError, KeyError, TypeError):
            continue
        if url.scheme == "file":
            return unquote(url.path)
    return ""
