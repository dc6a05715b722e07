"""The data of `top`: the supervisor's status at intervals, its events, and the journal's files.

It runs in a thread of its own, because an answer can take long and keys must work meanwhile. The journal is read from
the home, so ticks are shown even while the supervisor is away.
"""

from __future__ import annotations

import queue
import time
from threading import Event, Thread

from ...protocol.commands import Command, History, Status
from ...protocol.errors import NeverblinkError
from ...protocol.status import BotStatus as Seen
from ..api.client import (
    Client,
    CommandFault,
    EventSubscription,
    Unreachable,
    convert,
)
from ..audit.recent_ticks import Place, RecentTicks
from ..store.history_rows import DeploymentRow
from .context import CommandContext
from .top_view import TopView

__all__ = ["TopSource", "look_once"]

_ASK_EVERY = 0.5
_LOOK_EVERY = 0.2
_ANSWER_WITHIN = 2.0
_COMMAND_WITHIN = 30.0
_AGAIN_AFTER = 0.5


def look_once(context: CommandContext) -> TopView:
    """The current picture. Raises `Unreachable`."""
    view = TopView(measured=not context.server)
    with context.client() as client:
        view.answered(convert(client.ask(Status()), Seen))
        _catch_up(client, view)
    if not context.server:
        strip = RecentTicks(context.home.journal)
        strip.look()
        view.add(strip.since())
    return view


class TopSource:
    """Fills `view` until it is closed."""

    def __init__(self, context: CommandContext, view: TopView) -> None:
        self._here = context
        self._view = view
        self._strip = None if context.server else RecentTicks(context.home.journal)
        self._place: Place | None = None
        self._commands: queue.SimpleQueue[tuple[Command, str]] = queue.SimpleQueue()
        self._closing = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def ask(self, command: Command, done: str) -> None:
        """Send a command; `done` is the message for its success."""
        self._commands.put((command, done))

    def close(self) -> None:
        self._closing.set()
        self._thread.join(_ANSWER_WITHIN + 1)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with self._here.client() as client, client.events() as events:
                    self._attend(client, events)
            except NeverblinkError as problem:
                self._view.unreachable(problem.message)
            until = time.monotonic() + _AGAIN_AFTER
            while time.monotonic() < until and not self._closing.wait(_LOOK_EVERY):
                self._look()

    def _attend(self, client: Client, events: EventSubscription) -> None:
        """Update the view until the supervisor cannot be reached."""
        status_asked_at = looked = 0.0
        while not self._closing.is_set():
            event = events.next(0.1)
            while event is not None:
                self._view.on_event(event)
                event = events.next(0)
            now = time.monotonic()
            if now - looked >= _LOOK_EVERY:
                looked = now
                self._look()
            self._carry_out(client)
            if now - status_asked_at >= _ASK_EVERY:
                status_asked_at = now
                self._view.answered(convert(client.ask(Status(), within=_ANSWER_WITHIN), Seen))
                _catch_up(client, self._view)

    def _carry_out(self, client: Client) -> None:
        try:
            command, done = self._commands.get_nowait()
        except queue.Empty:
            return
        try:
            client.ask(command, within=_COMMAND_WITHIN)
        except CommandFault as refused:
            self._view.say(refused.message)
        else:
            self._view.say(done)

    def _look(self) -> None:
        if self._strip is None or not self._strip.look():
            return
        seen = self._strip.since(self._place)
        if self._place is not None and seen and (seen[0].epoch, seen[0].number) <= self._place:
            self._view.restart_ticks()
        self._view.add(seen)
        if seen:
            self._place = (seen[-1].epoch, seen[-1].number)


def _catch_up(client: Client, view: TopView) -> None:
    """Fetch the events so far of a deployment that began before this client subscribed."""
    status = view.picture().status
    now = status.deployment if status is not None else None
    if now is None or now.deployment == view.deployment:
        return
    try:
        view.caught_up(convert(client.ask(History(deployment=now.deployment)), DeploymentRow))
        view.answered(convert(client.ask(Status()), Seen))
    except (CommandFault, Unreachable):
        return
