"""The state of the bot, for the user who pushed: a push may also fail because the bot is down."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...protocol.commands import Status
from ...protocol.errors import NeverblinkError
from ..api.client import Client
from ..store.living_workers import alive_in
from ..store.state_dir import Home

__all__ = ["RUNS", "bot_state"]

RUNS = "the bot runs the code it ran before"
_WITHIN = 2.0


def bot_state(home: Path | None) -> str:
    """A clause such as "the bot is down: …"; `home` is None when it is unknown. Never raises."""
    unknown = "whether the bot runs cannot be seen from here"
    if home is None or not os.access(home, os.R_OK | os.X_OK):
        return unknown
    try:
        with Client(Home(home)) as client:
            status: dict[str, Any] = client.ask(Status(), within=_WITHIN)
    except NeverblinkError:
        return _without_supervisor(Home(home), unknown)
    if status.get("worker"):
        return RUNS
    reason = f": {status['reason']}" if status.get("reason") else ""
    return f"the bot is {status.get('state', 'down')}, and no worker leads{reason}"


def _without_supervisor(home: Home, unknown: str) -> str:
    try:
        alive = any(worker.leads for worker in alive_in(home))
    except (NeverblinkError, OSError):
        return unknown
    return f"{RUNS}, without a supervisor" if alive else "the bot does not run"
