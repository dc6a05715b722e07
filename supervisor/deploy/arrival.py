"""What a supervisor finds in the home when it starts: living workers, a journal, and whether the home is a copy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Literal

from ...protocol.events import HomeChanged, SupervisorStarted, WorkerExited
from ..bot.bot import LiveBot
from ..store import living_workers
from ..store.history_rows import WorkerRow
from ..store.history_thread import HistoryThread
from ..store.identity import Identity
from ..store.state_dir import Home
from ..system.process_group import ProcessGroups, mark_of
from ..workers import leftovers
from .adoption import Adoption

__all__ = ["Arrival"]


class Arrival:
    """Examines `home`, which this supervisor owns, and decides where the bot continues. Call `look` first."""

    def __init__(
        self,
        home: Home,
        bot: LiveBot,
        adoption: Adoption,
        history_thread: HistoryThread,
        say: Callable[[str], None],
    ) -> None:
        self._home = home
        self._bot = bot
        self._adoption = adoption
        self._history_thread = history_thread
        self._say = say
        self._known: list[WorkerRow] = []
        self._copied = ""
        """The report for a home that is a copy, "" otherwise."""
        self._journal_end: leftovers.JournalEnd | None = None
        """Where the earlier run ended that the bot continues, None when it begins anew or is alive."""

    @property
    def ended_unasked(self) -> bool:
        """Whether the earlier run ended without being stopped. It may have died in the middle of a write."""
        return self._journal_end is not None and not self._journal_end.stopped

    @property
    def found(self) -> Literal["alive", "new", "stopped", "dead"]:
        """The state of the bot when this supervisor started."""
        if self._adoption.alive:
            return "alive"
        if self._journal_end is None or self._copied:
            return "new"
        return "stopped" if self._journal_end.stopped else "dead"

    async def look(self, identity: Identity, *, copied: bool, fresh: bool, chosen: bool) -> None:
        """Examine what an earlier run left, and set its journal aside when `fresh`. Raises what `Adoption.look` raises.

        `copied`: the home was just found to be a copy. `chosen`: an operator has named the code to start.
        """
        home = self._home
        self._known = await self._history_thread.ask(lambda history: history.remaining())
        others = await asyncio.to_thread(living_workers.foreign, home, self._known)
        if copied or others:
            self._copied = _copy_text(identity, others)
        await self._adoption.look(self._known, fresh=fresh, chosen=chosen)
        alive = self._adoption.alive
        left = await asyncio.to_thread(leftovers.journal_left, home.journal)
        if left is not None and fresh:
            aside = await asyncio.to_thread(leftovers.set_aside, home)
            self._say(f"set the journal of the earlier run aside: {aside}")
        elif left is not None and not alive:
            self._say(f"going on from the earlier run, which {left}")
            self._journal_end = left
            seq, at = await self._history_thread.ask(lambda history: history.last_effect())
            if seq > left.seq and at > left.at:
                # A command took effect in a frame that is not in the journal.
                self._bot.state.registry.earlier_frame = left.number + 1
        leftovers.sweep(home.run, alive)

    def publish_exits(self, groups: ProcessGroups) -> None:
        """Publish the ends of known workers that ended while no supervisor ran, and end the processes they left."""
        for row in self._known:
            if row.worker in self._adoption.alive:
                continue
            groups.end(row.worker, row.pid, row.started, mark_of(row.worker, str(self._home.run)))
            self._bot.bus.tell(
                WorkerExited(
                    worker=row.worker,
                    release=row.release,
                    pid=row.pid,
                    code=None,
                    reason="ended while no supervisor ran",
                )
            )

    async def note_outage(self) -> None:
        """Begin an outage when the earlier run ended without being stopped: the bot has not ticked since."""
        left = self._journal_end
        if left is not None and not left.stopped and not self._copied:
            leaders = await self._history_thread.ask(
                lambda history: [row for row in history.leaders(20) if row.worker]
            )
            worker, release = (leaders[0].worker, leaders[0].release) if leaders else ("", "")
            self._bot.outages.found(left.at, worker, release, "it ended while no supervisor ran")

    def publish_started(self, pid: int, version: str) -> None:
        """Publish that the supervisor with this pid has started, and what it found."""
        if self._copied:
            self._bot.bus.tell(HomeChanged(state="copied", text=self._copied))
        self._bot.bus.tell(SupervisorStarted(pid=pid, version=version, found=self.found))


def _copy_text(identity: Identity, others: Iterable[WorkerRow]) -> str:
    text = (
        f"this home is a copy{f' of home {identity.copy_of}' if identity.copy_of else ''}, or was restored from a "
        "backup: it begins a life of its own, from the journal that is in it"
    )
    named = ", ".join(f"{row.worker} (pid {row.pid})" for row in others)
    if named:
        text += f". The bot that it was copied from is alive, trades as well, and is left alone: {named}"
    return text
