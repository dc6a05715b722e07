"""Who paused the bot, when and why. Kept in the history, so that a later supervisor knows it too."""

from __future__ import annotations

from ...protocol.events import Commanded, Event, JournalChanged
from ...protocol.status import PauseNote
from .history_thread import HistoryThread

__all__ = ["PauseNotes"]

_KEY = "paused"


class PauseNotes:
    """Keeps the note of what paused the bot last. `note` is None when it was resumed since, or never paused."""

    def __init__(self, history_thread: HistoryThread) -> None:
        self._history_thread = history_thread
        self.note: PauseNote | None = None

    async def recall(self) -> None:
        """Read what an earlier supervisor left."""
        self.note = await self._history_thread.recall(_KEY, PauseNote)

    def take(self, event: Event) -> None:
        """Take in what has happened."""
        match event:
            case Commanded(op="resume", outcome="ok"):
                self.note = None
                self._history_thread.write(lambda history: history.drop(_KEY))
            case Commanded(op="pause", outcome="ok") | Commanded(op="halt", outcome="ok" | "failed"):
                # A halt that failed leaves the bot paused.
                self._keep(PauseNote(event.op, event.who, event.why, event.at))
            case JournalChanged(state="lost", text=text):
                self._keep(PauseNote("journal", "", text, event.at))
            case _:
                pass

    def _keep(self, note: PauseNote) -> None:
        self.note = note
        self._history_thread.write(lambda history: history.keep(_KEY, note))
