"""The queue of one target: what is sent and when, with a size limit, a rate limit and retries.

Pure: notes and the time go in, messages to send come out. Times are monotonic ns, except a note's own `at`.

At most `burst` messages are sent in any `per`. Notes that wait for the next message are combined into it: "and 12
more". A message that fails is retried with growing pauses until it is `retry_for` old; then it counts as lost.
Meanwhile later notes are kept, up to a limit: the oldest are dropped first, and the next message says how many.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Literal

import msgspec

from ...protocol.duration import SECOND
from ..config.notify_settings import Kind, NotifyPace

__all__ = ["Level", "Note", "NotifyQueue", "QueuedMessage"]

Level = Literal["info", "success", "warning", "failure"]


class Note(msgspec.Struct, frozen=True):
    """A message. Targets that subscribe to one of `kinds` get it."""

    kinds: tuple[Kind, ...]
    level: Level
    title: str
    text: str
    at: int
    """When it happened, wall clock, ns."""
    key: str = ""
    """A waiting note is replaced by a later one with the same key; a sent one is not sent again."""
    hold: int = 0
    """How long it waits (ns): it may be replaced or become obsolete."""
    over: str = ""
    """The key of a waiting note that this one makes obsolete."""
    only_after: bool = False
    """Send this note only if that one was sent."""


_MOST = 200
"""The most notes that wait."""
_MOST_KEYS = 500
_SHOWN = 8
"""Titles shown in a combined message."""
_PAUSES = (1, 2, 5, 15, 30, 60)
"""Pauses between retries, seconds; the last one repeats."""
_LEVELS: tuple[Level, ...] = ("failure", "warning", "success", "info")


class QueuedMessage(msgspec.Struct, frozen=True):
    """A message to send: one note, or several combined."""

    title: str
    text: str
    level: Level
    notes: int
    """How many notes it contains."""
    since: int
    """When it was first due."""


class _Waits(msgspec.Struct, frozen=True):
    note: Note
    since: int
    begins: int
    """The earliest time to send it."""


class NotifyQueue:
    """The messages for one target."""

    def __init__(self, bot: str, pace: NotifyPace) -> None:
        self._bot = bot
        self._pace = pace
        self._waiting: deque[_Waits] = deque()
        self._sent_at: deque[int] = deque(maxlen=pace.burst)
        self._keys: dict[str, None] = {}
        """Keys of sent notes, newest last."""
        self._current: QueuedMessage | None = None
        """The message that is being sent, or is waiting for a retry."""
        self._sending = False
        self._tries = 0
        self._again = 0
        self._forgotten = 0
        """Notes dropped because the queue was full, not reported yet."""
        self.sent = 0
        """How many notes arrived so far."""
        self.lost = 0
        """How many notes were lost so far."""

    @property
    def waiting(self) -> int:
        """Notes that have not arrived yet."""
        return len(self._waiting) + (self._current.notes if self._current is not None else 0)

    def put(self, note: Note, now: int) -> None:
        """Queue a note."""
        begins = now + note.hold
        for waits in [waits for waits in self._waiting if waits.note.key]:
            if waits.note.key == note.key:
                # The time that it has waited counts.
                begins = min(begins, waits.begins)
                self._waiting.remove(waits)
            elif waits.note.key == note.over:
                self._waiting.remove(waits)
                if note.only_after:
                    return
        if (note.key and note.key in self._keys) or (note.only_after and note.over not in self._keys):
            return
        if len(self._waiting) >= _MOST:
            self._waiting.popleft()
            self._forgotten += 1
            self.lost += 1
        self._waiting.append(_Waits(note, now, begins))

    def next_at(self, now: int) -> int | None:
        """When `take` may return a message, None when that does not depend on time alone."""
        if self._sending:
            return None
        if self._current is not None:
            return self._again
        begins = min((waits.begins for waits in self._waiting), default=None)
        return None if begins is None else max(begins, self._free_at())

    def take(self, now: int) -> QueuedMessage | None:
        """The message to send now. Call `arrived` or `failed` before taking the next one."""
        at = self.next_at(now)
        if at is None or now < at:
            return None
        if self._current is None:
            ripe = [waits for waits in self._waiting if waits.begins <= now]
            # While more than one message may be sent, each note is its own message.
            if self._free(now) > 1:
                ripe = ripe[:1]
            for waits in ripe:
                self._waiting.remove(waits)
                self._remember(waits.note.key)
            self._current = self._combine(ripe)
        self._sending = True
        return self._current

    def arrived(self, now: int) -> None:
        assert self._current is not None
        self.sent += self._current.notes
        self._done(now)

    def failed(self, now: int, *, for_good: bool = False) -> bool:
        """Record that sending failed; return whether the message is lost. `for_good`: a retry is useless."""
        message = self._current
        assert message is not None
        self._sending = False
        pause = _PAUSES[min(self._tries, len(_PAUSES) - 1)] * SECOND
        self._tries += 1
        self._again = now + pause
        if not for_good and self._again - message.since <= self._pace.retry_for:
            return False
        self.lost += message.notes
        self._done(now)
        return True

    def rest(self) -> QueuedMessage | None:
        """All unsent notes as one last message, whatever the time; None when there are none."""
        failed = self._current if not self._sending else None
        ripe = list(self._waiting)
        self._waiting.clear()
        if failed is not None:
            note = Note((), failed.level, failed.title, failed.text, 0)
            ripe.insert(0, _Waits(note, failed.since, 0))
        return self._combine(ripe) if ripe else None

    def _done(self, now: int) -> None:
        self._current = None
        self._sending = False
        self._tries = 0
        self._sent_at.append(now)

    def _free(self, now: int) -> int:
        """How many messages may be sent now."""
        return self._pace.burst - sum(at > now - self._pace.per for at in self._sent_at)

    def _free_at(self) -> int:
        return self._sent_at[0] + self._pace.per if len(self._sent_at) == self._pace.burst else 0

    def _remember(self, key: str) -> None:
        if key:
            self._keys[key] = None
            while len(self._keys) > _MOST_KEYS:
                del self._keys[next(iter(self._keys))]

    def _combine(self, ripe: list[_Waits]) -> QueuedMessage:
        since = min(waits.since for waits in ripe)
        notes = [waits.note for waits in ripe]
        forgotten, self._forgotten = self._forgotten, 0
        gone = f"{forgotten} earlier ones were dropped: too many at once" if forgotten else ""
        if len(notes) == 1:
            note = notes[0]
            text = "\n".join(line for line in (note.text, gone) if line)
            return QueuedMessage(note.title, text, note.level, 1, since)
        # Failures come first.
        shown = sorted(notes, key=lambda note: _LEVELS.index(note.level))[:_SHOWN]
        level = shown[0].level
        lines = [_titled(note) for note in shown]
        rest = len(notes) - len(shown)
        if rest:
            left = Counter(kind for note in notes if note not in shown for kind in note.kinds[:1])
            lines.append(f"and {rest} more of {_counted(left.items())}")
        title = f"{self._bot}: {len(notes)} messages in one"
        return QueuedMessage(title, "\n".join([*lines, *([gone] if gone else [])]), level, len(notes), since)


def _titled(note: Note) -> str:
    first = note.text.partition("\n")[0]
    return f"• {note.title}" + (f" ({first})" if first else "")


def _counted(kinds: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{kind} ({times})" if times > 1 else kind for kind, times in kinds)
