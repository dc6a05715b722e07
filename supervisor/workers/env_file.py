"""The environment of the bot's processes, and the file that adds to it.

`env_file` in the configuration names the file. It lies in the project, not in the release, and is read again for each
worker: a changed key reaches the bot with its next deployment or restart, without a restart of the supervisor. Its
values win over those that the supervisor was started with.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import parse_stream

from ...protocol.errors import NeverblinkError
from ...protocol.listening import VARIABLES as LISTEN_VARIABLES
from ..system.sd_notify import VARIABLES

__all__ = ["EnvFileError", "bot_environment", "read_env_file", "readable_by_others"]

_LARGEST = 1024 * 1024
_RESERVED = ("NEVERBLINK_", "LISTEN_FD", "LISTEN_PID")


class EnvFileError(NeverblinkError):
    """The file `path`, named by `env_file`, can't be used."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"env_file {path}: {problem}")
        self.path = path


def bot_environment(env_file: Path | None, data: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process that runs the bot's code; makes its `data` directory.

    Raises `EnvFileError` and `OSError`.
    """
    own = read_env_file(env_file) if env_file is not None else {}
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    # With PYTHONSAFEPATH set, -m would leave the release's directory out of sys.path, and nothing would be found.
    # Sockets that this process was started with are not the bot's.
    dropped = {"PYTHONSAFEPATH", *VARIABLES, *LISTEN_VARIABLES}
    kept = {name: value for name, value in {**inherited, **own}.items() if name not in dropped}
    return {**kept, "NEVERBLINK_DATA": os.fspath(data), "PYTHONUNBUFFERED": "1"}


def read_env_file(path: Path) -> dict[str, str]:
    """The names and values in `path`, in the syntax of dotenv, without interpolation. Raises `EnvFileError`."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise EnvFileError(
            path, "is not there: create it, or remove env_file from the configuration"
        ) from None
    except OSError as problem:
        raise EnvFileError(path, f"can't be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise EnvFileError(path, "is not UTF-8: save it as UTF-8") from None
    if len(data) > _LARGEST:
        raise EnvFileError(path, f"is larger than {_LARGEST // 1024} KiB: is it the right file?")
    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        line = binding.original.line
        if binding.error or (binding.key is not None and binding.value is None):
            raise EnvFileError(path, f"line {line}: expected NAME=VALUE")
        if binding.key is None or binding.value is None:
            continue
        if binding.key.startswith(_RESERVED):
            raise EnvFileError(path, f"line {line}: {binding.key} is set by neverblink: remove it")
        if "\0" in binding.value or "=" in binding.key or not binding.key:
            raise EnvFileError(path, f"line {line}: not a name and a value that a process can have")
        found[binding.key] = binding.value
    return found


def readable_by_others(path: Path) -> bool:
    """Whether other users can read the file. Raises `OSError`."""
    return bool(stat.S_IMODE(path.stat().st_mode) & (stat.S_IRGRP | stat.S_IROTH))
