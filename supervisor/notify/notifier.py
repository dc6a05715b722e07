"""Sends one bot's notifications to all their targets.

It is an ordinary listener of the event bus and can delay nothing: each target has a bounded queue and a sender in its
own process. A target that fails is reported in the status, and in the log when the failure begins and ends.
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
from .messages import MessageWriter
from .queue import Note, NotifyQueue, QueuedMessage
from .secret_urls import Unresolved, scheme_of, url_of
from .sender_process import SenderProcess

__all__ = ["Notifier"]

_LAST_WORDS_S = 2.0
"""How long the supervisor's end waits for the last messages; after that their senders go on alone."""


class Notifier:
    """Notifies the targets of `settings` of events of `bot`. `say` writes to the log. To be closed.

    Without apprise (`can_send` is false) notes are logged and counted as lost, until it is installed.
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
        self._writer = MessageWriter(bot, host)
        self._channels = [_Channel(target, settings, bot, environment, say) for target in settings.targets]
        self._can_send = can_send or _library_is_there
        if self._channels and not self._can_send():
            for channel in self._channels:
                channel.report_failure(no_library())

    @property
    def seen(self) -> tuple[TargetSeen, ...]:
        return tuple(channel.seen for channel in self._channels)

    def note(self, event: events.Event) -> None:
        """Queue the notes for an event, if it has any."""
        if not self._channels or isinstance(event, events.Heartbeat):
            return
        for note in self._writer.of(event):
            # It may have been installed since.
            can_send = self._can_send()
            for channel in self._channels:
                if can_send:
                    channel.put(note)
                else:
                    channel.lose(note)

    async def close(self) -> None:
        """Send the remaining notes, waiting for a moment at most."""
        await asyncio.gather(*(channel.close() for channel in self._channels))


def _library_is_there() -> bool:
    importlib.invalidate_caches()
    return importlib.util.find_spec("apprise") is not None


class _Channel:
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
        self._queue = NotifyQueue(bot, settings.pace)
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
            self.report_failure(problem.message)

    @property
    def seen(self) -> TargetSeen:
        queue = self._queue
        state = "failing" if self._failing else "sending" if self._sending else "ready"
        return TargetSeen(
            self._target.name,
            self._scheme,
            state,
            self._failing,
            self._since,
            queue.waiting,
            queue.sent,
            queue.lost,
        )

    def put(self, note: Note) -> None:
        if self._target.wants(note.kinds):
            self._queue.put(note, time.monotonic_ns())
            self._send_due()

    def lose(self, note: Note) -> None:
        """Count a note as lost, because apprise is missing."""
        if self._target.wants(note.kinds):
            self._queue.lost += 1
            self.report_failure(no_library())

    async def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        last, url = self._queue.rest(), ""
        try:
            url = url_of(self._target, self._environment)
        except Unresolved:
            last = None
        await self._sender_process.close(last, url, _LAST_WORDS_S)

    def _send_due(self) -> None:
        """Send what is due, or set a timer for the next message."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed:
            return
        now = time.monotonic_ns()
        message = self._queue.take(now)
        if message is not None:
            self._send(message)
            return
        at = self._queue.next_at(now)
        if at is not None:
            self._timer = self._loop.call_later(max(0, at - now) / 1e9, self._send_due)

    def _send(self, message: QueuedMessage) -> None:
        self._sending = True
        try:
            url = url_of(self._target, self._environment)
        except Unresolved as problem:
            self._loop.call_soon(self._done, SendResult(False, problem.message))
            return
        self._scheme = scheme_of(url)
        self._sender_process.send(message, url)

    def _done(self, result: SendResult) -> None:
        self._sending = False
        now = time.monotonic_ns()
        if result.arrived:
            self._queue.arrived(now)
            if self._failing:
                self._failing, self._since = "", 0
                lost = f", {self._queue.lost} so far were lost" if self._queue.lost else ""
                self._say(f"notify {self._target.name}: messages arrive again{lost}")
        else:
            self.report_failure(result.reason)
            if self._queue.failed(now, for_good=result.for_good):
                self._say(f"notify {self._target.name}: a message is lost: {result.reason}")
        self._send_due()

    def report_failure(self, reason: str) -> None:
        """Record why messages do not arrive; log it the first time."""
        if not self._failing:
            self._since = time.time_ns()
            self._say(f"notify {self._target.name}: nothing arrives: {reason}")
        self._failing = reason
