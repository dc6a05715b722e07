"""Refresh: what a bot derives from the state, and keeps beside it, is brought up to date before the bot leads.

Frames change the state of a follower, but not what `on_load` built from it. A bot with an `on_state` handler is told
which fields have changed: at most ten times a second while it follows, when the leader is about to yield, and right
before `on_lead` if anything has changed since. For a bot without one, `on_load` runs again instead, but only when the
leader is about to yield and right before `on_lead`. The leader continues to tick while its successor refreshes (see
`Bracing`), so the blackout rarely contains any of this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..model.replica import Replica
from .turns import Bot, TurnStep

__all__ = ["Refresh"]

_EVERY = 100_000_000
"""A follower calls `on_state` at most once in this time, ns."""


class Refresh:
    """Makes the steps for `bot` in this process. `mono` is CLOCK_MONOTONIC, ns."""

    def __init__(self, bot: Bot, replica: Replica, mono: Callable[[], int]) -> None:
        self._bot = bot
        self._replica = replica
        self._mono = mono
        self.running: TurnStep | None = None
        """The step of this class that runs."""
        self.needs = 0
        """How long the last one took, or the `on_load` before it, ns."""
        self._loaded = False
        self._began = 0
        if bot.derives:
            replica.changed = set()

    @property
    def stale(self) -> bool:
        """Whether the state has changed since the bot last looked at it."""
        return self._loaded and bool(self._replica.changed)

    def wait(self) -> int:
        """How long a follower waits before its next `on_state`, ns; -1 when there is nothing to wait for."""
        if self._bot.derives != "on_state" or not self.stale:
            return -1
        return max(0, self._began + _EVERY - self._mono())

    def load_step(self) -> TurnStep:
        """The step of a state that is new in this process: `on_load`."""
        return TurnStep("on_load", self._load)

    def step(self) -> TurnStep:
        """The step that brings the bot up to date."""
        on_state = self._bot.derives == "on_state"
        self.running = TurnStep(self._bot.derives, self._tell_changes if on_state else self._load)
        return self.running

    def done(self) -> None:
        """Report that `on_load` or the step was carried out."""
        self.running = None
        if self._bot.derives:
            self.needs = self._mono() - self._began

    def _load(self) -> Any:
        self._take_changes()
        return self._bot.call_load(self._replica.state)

    def _tell_changes(self) -> Any:
        return self._bot.call_state(self._take_changes())

    def _take_changes(self) -> frozenset[str]:
        # Frames that are applied while an async handler runs are for the next call.
        self._began = self._mono()
        self._loaded = True
        changed = self._replica.changed
        if changed is None:
            return frozenset()
        cells = self._replica.cells
        told = frozenset(changed).intersection((*cells.names, *cells.table_names))
        changed.clear()
        return told
