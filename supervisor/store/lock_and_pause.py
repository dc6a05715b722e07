"""The deploy lock and the note on a pause: what operators have set, kept in the history for the next supervisor."""

from __future__ import annotations

from ...protocol.events import Commanded, Event, JournalChanged
from ...protocol.status import Locked, PauseNote
from .history_db import HistoryError
from .history_thread import HistoryThread

__all__ = ["DeployLock", "PauseNotes"]

_LOCK = "lock"
_PAUSE = "paused"


class DeployLock:
    """The operators' lock: while it is on, deployments are refused with its reason. `lock` is None when it is off."""

    def __init__(self, history_thread: HistoryThread) -> None:
        self._history_thread = history_thread
        self.lock: Locked | None = None

    async def recall(self) -> None:
        """Load what an earlier supervisor left."""
        try:
            self.lock = await self._history_thread.ask(lambda history: history.kept(_LOCK, Locked))
        except HistoryError as problem:
            # It is locked; the operator and the reason are lost.
            self.lock = Locked("", problem.message, 0)

    async def put_on(self, lock: Locked) -> None:
        # It holds at once, and is written when that is possible.
        self.lock = lock
        await self._history_thread.keep(lambda history: history.keep(_LOCK, lock))

    async def take_off(self) -> None:
        self.lock = None
        await self._history_thread.keep(lambda history: history.drop(_LOCK))


class PauseNotes:
    """Records who paused the bot last, when and why. `note` is None when it was resumed since, or never paused."""

    def __init__(self, history_thread: HistoryThread) -> None:
        self._history_thread = history_thread
        self.note: PauseNote | None = None

    async def recall(self) -> None:
        """Load what an earlier supervisor left."""
        self.note = await self._history_thread.recall(_PAUSE, PauseNote)

    def take(self, event: Event) -> None:
        """Update from an event."""
        match event:
            case Commanded(op="resume", outcome="ok"):
                self.note = None
                self._history_thread.write(lambda history: history.drop(_PAUSE))
            case Commanded(op="pause", outcome="ok") | Commanded(op="halt", outcome="ok" | "failed"):
                # A halt that failed leaves the bot paused.
                self._keep(PauseNote(event.op, event.who, event.why, event.at))
            case JournalChanged(state="lost" | "left-out", text=text):
                self._keep(PauseNote("journal", "", text, event.at))
            case _:
                pass

    def _keep(self, note: PauseNote) -> None:
        self.note = note
        self._history_thread.write(lambda history: history.keep(_PAUSE, note))
