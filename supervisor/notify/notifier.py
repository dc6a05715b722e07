"""Sends one bot's notifications to all their targets.

It listens to the news like anybody, and what it does with them can neither delay nor disturb anything: notes go into
queues with a bound, and processes of their own send them. A target that fails is told in the log, once when it begins
and once when it is over, and in the status.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Callable, Mapping

from ...protocol import events
from ...protocol.status import TargetSeen
from ..config.notify_settings import NotifySettings, NotifyTarget
from .apprise_sender import SendResult, no_library
from .message import Note
from .messages import MessageWriter
from .queue import NotifyQueue, QueuedMessage
from .secret_urls import Unresolved, scheme_of, url_of
from .sender_process import SenderProcess

__all__ = ["Notifier"]

_LAST_WORDS_S = 2.0
"""How long the supervisor's end may wait for the last messages; after that they go on their way without it."""


class Notifier:
    """Tells the targets of `settings` what happens to `bot`. `say` is for the log. To be closed.

    Without apprise (`can_send`) nothing is sent: that is logged and counted, until it is installed.
    """

    def __init__(
        self,
        settings: NotifySettings,
        bot: str,
        host: str,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        *,
        can_send: Callable[[], bool] | None = None,
    ) -> None:
        self._wording = MessageWriter(bot, host)
        self._lines = [_Line(target, settings, bot, environment, say) for target in settings.targets]
        self._can_send = can_send or _library_is_there
        if self._lines and not self._can_send():
            for line in self._lines:
                line.trouble(no_library())

    @property
    def seen(self) -> tuple[TargetSeen, ...]:
        return tuple(line.seen for line in self._lines)

    def note(self, event: events.Event) -> None:
        """Tell of the event, if it is worth that."""
        if not self._lines or isinstance(event, events.Heartbeat):
            return
        for note in self._wording.of(event):
            # It may have been installed since.
            can_send = self._can_send()
            for line in self._lines:
                if can_send:
                    line.put(note)
                else:
                    line.lose(note)

    async def close(self) -> None:
        """Send what is left to send, as far as that takes no longer than a moment."""
        await asyncio.gather(*(line.close() for line in self._lines))


def _library_is_there() -> bool:
    importlib.invalidate_caches()
    return importlib.util.find_spec("apprise") is not None


class _Line:
    """One target, with its queue and its sender."""

    def __init__(
        self,
        target: NotifyTarget,
        settings: NotifySettings,
        bot: str,
        environment: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._target = target
        self._environment = environment
        self._say = say
        self._outbox = NotifyQueue(bot, settings.pace)
        self._sender_process = SenderProcess(environment, self._done)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._sending = False
        self._failing = ""
        self._since = 0
        self._scheme = ""
        self._closed = False
        try:
            self._scheme = scheme_of(url_of(target, environment))
        except Unresolved as problem:
            self.trouble(problem.message)

    @property
    def seen(self) -> TargetSeen:
        outbox = self._outbox
        state = "failing" if self._failing else "sending" if self._sending else "ready"
        return TargetSeen(
            self._target.name,
            self._scheme,
            state,
            self._failing,
            self._since,
            outbox.waiting,
            outbox.sent,
            outbox.lost,
        )

    def put(self, note: Note) -> None:
        if self._target.wants(note.kinds):
            self._outbox.put(note, time.monotonic_ns())
            self._look()

    def lose(self, note: Note) -> None:
        """There is nothing to send it with."""
        if self._target.wants(note.kinds):
            self._outbox.lost += 1
            self.trouble(no_library())

    async def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        last, url = self._outbox.rest(), ""
        try:
            url = url_of(self._target, self._environment)
        except Unresolved:
            last = None
        await self._sender_process.close(last, url, _LAST_WORDS_S)

    def _look(self) -> None:
        """Send what is to be sent now, and come back when there will be something."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed:
            return
        now = time.monotonic_ns()
        message = self._outbox.take(now)
        if message is not None:
            self._send(message)
            return
        at = self._outbox.next_at(now)
        if at is not None:
            self._timer = self._loop.call_later(max(0, at - now) / 1e9, self._look)

    def _send(self, message: QueuedMessage) -> None:
        self._sending = True
        try:
            url = url_of(self._target, self._environment)
        except Unresolved as problem:
            self._loop.call_soon(self._done, SendResult(False, problem.message))
            return
        self._scheme = scheme_of(url)
        self._sender_process.send(message, url)

    def _done(self, receipt: SendResult) -> None:
        self._sending = False
        now = time.monotonic_ns()
        if receipt.arrived:
            self._outbox.arrived(now)
            if self._failing:
                self._failing, self._since = "", 0
                lost = f", {self._outbox.lost} so far were lost" if self._outbox.lost else ""
                self._say(f"notify {self._target.name}: messages arrive again{lost}")
        else:
            self.trouble(receipt.reason)
            if self._outbox.failed(now, for_good=receipt.for_good):
                self._say(f"notify {self._target.name}: a message is lost: {receipt.reason}")
        self._look()

    def trouble(self, reason: str) -> None:
        """Nothing arrives, and this is why."""
        if not self._failing:
            self._since = time.time_ns()
            self._say(f"notify {self._target.name}: nothing arrives: {reason}")
        self._failing = reason
