"""The inbox: events from outside and commands, each of which waits for its turn.

During a handoff the old and the new worker both receive events, so an event can reach both, or only one of them. Each
puts what it receives into its inbox under the event's key. The leader applies an item once, in a turn, and that turn's
frame has the key; a follower offers what it received to the leader and drops what the leader reports as applied. An
operator's commands take the same way, so they too run once across a handoff.

The number and the age of the keys remembered as applied are bounded; an event whose key was forgotten would be applied
again if it came again. `remembered`, `limit` and `forgotten` make the bound visible.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.frame import COMMAND, Item, Traffic
from ...protocol.text import is_encodable
from ...protocol.wire import NOT_ENCODABLE

__all__ = ["EventError", "Inbox", "command_key"]

_encoder = msgspec.msgpack.Encoder()


class EventError(NeverblinkError):
    """The event cannot be sent between processes."""

    def __init__(self, key: object, problem: str) -> None:
        super().__init__(f"event {key!r}: {problem}")
        self.key = key


class Inbox:
    """Items by key, in the order in which they were first received.

    `put` may be called from any thread and between turns; everything else belongs to the worker's own thread.
    `wall` returns wall-clock ns; `wake` is called when something was put.
    """

    def __init__(self, wall: Callable[[], int], wake: Callable[[], None], limit: int, age: int) -> None:
        self.limit = limit
        self.forgotten = 0
        self._wall = wall
        self._wake = wake
        self._age = age
        self.arrived: deque[Item] = deque()
        """Items that were put and are not in `line` yet."""
        self.line: OrderedDict[str, Item] = OrderedDict()
        """Items that wait for their turn, by key."""
        self.received: dict[str, None] = {}
        """The keys received since the last `traffic`."""
        self.repeated = 0
        """How many known items came again since then."""
        self._applied: OrderedDict[str, int] = OrderedDict()

    # for the bot

    def put(self, key: str, event: Any) -> None:
        """Have `event` applied once, in a turn of `on_event`, by the process that leads then.

        `key` identifies the event at its source (a fill's id, for example): the same key put again, here or in
        another process, is dropped. Raises `EventError` when the key is not a string or the event cannot be encoded.
        """
        if type(key) is not str or not key or key.startswith(COMMAND):
            raise EventError(key, f"a key is a non-empty str that does not begin with {COMMAND!r}")
        if not is_encodable(key):
            raise EventError(key, "a key must be UTF-8, without surrogates")
        try:
            data = _encoder.encode(event)
        except NOT_ENCODABLE as problem:
            raise EventError(
                key, f"{problem}; put data that msgspec can encode, such as a dict or a Struct"
            ) from None
        self.arrived.append(Item(key, "event", data, self._wall()))
        self._wake()

    # for the engine

    @property
    def remembered(self) -> int:
        return len(self._applied)

    @property
    def waiting(self) -> int:
        return len(self.line) + len(self.arrived)

    def command(self, key: str, name: str, args: dict[str, Any]) -> None:
        """Put an operator's command into the inbox."""
        self.arrived.append(Item(command_key(key), "command", _encoder.encode((name, args)), self._wall()))

    def knows_applied(self, key: str) -> bool:
        """Whether the item is remembered as applied."""
        return key in self._applied

    def sort_in(self) -> list[Item]:
        """Move what was put since the last call into `line`, and return the new items."""
        new: list[Item] = []
        while self.arrived:
            item = self.arrived.popleft()
            if self._admit(item):
                new.append(item)
        return new

    def admit(self, items: Iterable[Item]) -> None:
        """Add items that another worker received."""
        for item in items:
            self._admit(item)

    def put_in_order(self) -> None:
        """Sort what waits by time of receipt, in whichever process that was. Called when this worker begins to lead."""
        self.sort_in()
        self.line = OrderedDict(sorted(self.line.items(), key=lambda pair: pair[1].at))
        # Its first frame reports all of them as received, in the order of the turns to come.
        self.received = dict.fromkeys(self.line)

    def peek(self) -> Item | None:
        """Return the next item to apply."""
        return next(iter(self.line.values())) if self.line else None

    def apply(self, key: str, at: int) -> None:
        """Record that the item was applied in the turn at `at`, and remove it from `line`."""
        self.line.pop(key, None)
        self._remember(key, at)

    def traffic(self, applied: tuple[str, ...]) -> Traffic | None:
        """Return what changed in the inbox since the frame before, for a frame; None when nothing did."""
        if not (applied or self.received or self.repeated):
            return None
        waiting = tuple(self.line[key] for key in self.received if key in self.line)
        traffic = Traffic(tuple(self.received), applied, self.repeated, waiting)
        self.received.clear()
        self.repeated = 0
        return traffic

    def absorb(self, traffic: Traffic, at: int) -> None:
        """Follow a leader's frame: drop what it applied."""
        for key in traffic.applied:
            self.apply(key, at)
        self.admit(traffic.waiting)
        # What the leader has reported need not be reported by its successor, and its repeats are not ours.
        for key in (*traffic.received, *traffic.applied):
            self.received.pop(key, None)
        self.repeated = 0

    def pending(self) -> list[Item]:
        """Return everything that waits, in order."""
        self.sort_in()
        return list(self.line.values())

    def memory(self) -> tuple[tuple[str, int], ...]:
        """Return the remembered keys, oldest first, each with the wall time of its turn."""
        return tuple(self._applied.items())

    def restore(self, memory: Iterable[tuple[str, int]], waiting: Iterable[Item] = ()) -> None:
        """Take over another worker's remembered keys and waiting items; drop items here that it has applied."""
        self._applied = OrderedDict(memory)
        self.admit(waiting)
        for key in [key for key in self.line if key in self._applied]:
            del self.line[key]
            self.received.pop(key, None)

    def _admit(self, item: Item) -> bool:
        if item.key in self._applied or item.key in self.line:
            self.repeated += 1
            return False
        self.line[item.key] = item
        self.received[item.key] = None
        return True

    def _remember(self, key: str, at: int) -> None:
        applied = self._applied
        applied[key] = at
        applied.move_to_end(key)
        oldest = at - self._age
        while applied and (len(applied) > self.limit or next(iter(applied.values())) < oldest):
            applied.popitem(last=False)
            self.forgotten += 1


def command_key(key: str) -> str:
    """The key under which the operator's command `key` is in the inbox."""
    return COMMAND + key
