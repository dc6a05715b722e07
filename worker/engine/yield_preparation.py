"""What a leader does between "nothing keeps it from yielding" and dropping the lease.

A bot may have tasks and threads that must not run in two processes (`LeadTasks`), and `on_yielding`, which releases
what only one process may have. So that the blackout contains none of it:

1. The tasks are told to end, while the bot ticks on. This does not begin if a protected window would open before the
   bound, `yield_within`.
2. Once all have ended and the successor is prepared, `on_yielding` runs, between two turns.
3. After that no turn runs any more. The lease is dropped at once.

The bot must not remain in between. If a task does not end within the bound, the order is refused, because two
processes would act as the leader. If the order is cancelled or the successor is gone, this process leads on: its tasks
start again, and if `on_yielding` has run, `on_lead` runs again.
"""

from __future__ import annotations

from typing import Protocol

from ...protocol.link import YieldReport, YieldTo
from ...protocol.window import Window, first_open
from .lead_tasks import LeadTasks

__all__ = ["YieldPreparation"]

_SHOWN_AFTER = 100_000_000
"""A task that has not ended after this time is reported as what the order waits for, ns."""
_HANDED_WITHIN = 1_000_000_000
"""After `on_yielding` the lease is dropped within this time, or this process leads on, ns."""
_NEXT_TRY = 10
"""After a preparation in vain the bot is left alone for this many times the bound."""


class YieldingBot(Protocol):
    """The part of the bot that this module uses."""

    windows: tuple[Window, ...]
    yield_within: int
    yields: bool
    """It has an `on_yielding`."""


class YieldPreparation:
    """The preparation of one leader for the orders to yield that it gets."""

    def __init__(self, bot: YieldingBot, tasks: LeadTasks) -> None:
        self.order = 0
        """The order that this process prepares for, 0 for none."""
        self.last: YieldReport | None = None
        """The report of the last one."""
        self.done = False
        """`on_yielding` has run, or there is none: the lease can be dropped."""
        self.sealed = False
        """`on_yielding` has begun, so that no turn may run."""
        self.wants_handler = False
        """`on_yielding` is the next step."""
        self._bot = bot
        self._tasks = tasks
        self._until = 0
        self._began = 0
        self._running = 0
        self._ended = 0
        self._handler_began = 0
        self._not_before = 0

    def needed(self) -> bool:
        """Whether this bot has anything to prepare."""
        return self._bot.yields or bool(self._tasks)

    def window(self, wall: int) -> str:
        """A protected window that would open before the preparation has ended, "" for none; `wall`: the time."""
        if self.order or not self.needed():
            return ""
        soon = first_open(self._bot.windows, wall)
        if soon is None:
            bound = wall + self._bot.yield_within
            opening = (window for window in self._bot.windows if window.protected)
            soon = next((window for window in opening if window.next(wall).opens <= bound), None)
        return soon.name if soon is not None else ""

    def waits(self, now: int) -> str:
        """What the order waits for, "" for nothing worth a report."""
        if not self.order and now < self._not_before:
            return "its next try to end the bot's tasks"
        if self.order and not self._ended and now - self._began >= _SHOWN_AFTER:
            running = self._tasks.running
            return f"{running[0]}, which must end first" if running else ""
        return ""

    def tasks_ended(self, order: YieldTo, now: int) -> bool:
        """Tell the tasks to end, once; return whether all have."""
        if not self.needed():
            return True
        if self.order != order.order:
            self.order = order.order
            self._began, self._ended = now, 0
            self._until = now + self._bot.yield_within
            self._running = self._tasks.end()
        if not self._ended:
            if self._tasks.running:
                return False
            self._ended = now
        return True

    def ready(self) -> bool:
        """Whether the lease can be dropped; otherwise `on_yielding` is next. Only when the successor is prepared."""
        if self.done or not self.needed():
            return True
        if self._bot.yields:
            self.wants_handler = True
            return False
        return self._finish(0, "")

    def begin_handler(self, now: int) -> int:
        """`on_yielding` begins; return how long it may take, ns."""
        self.wants_handler = False
        self.sealed = True
        self._handler_began = now
        within = max(self._until - now, self._bot.yield_within // 4)
        self._until = now + within + _HANDED_WITHIN
        return within

    def handler_ended(self, now: int, problem: str = "") -> None:
        """`on_yielding` has returned, or failed."""
        self._finish(max(1, now - self._handler_began), problem)
        self._until = now + _HANDED_WITHIN

    def overdue(self, now: int) -> str:
        """The task that has not ended within the bound, "" for none."""
        if not self.order or self._ended or now < self._until:
            return ""
        running = self._tasks.running
        return running[0] if running else ""

    def in_vain(self, now: int) -> bool:
        """Whether everything has ended, and the lease could not be dropped within the bound."""
        return bool(self.order) and now >= self._until

    def wake_at(self, now: int) -> int:
        """When the bound is over or the next report is due, CLOCK_MONOTONIC ns; 0 for none."""
        if not self.order:
            return self._not_before if now < self._not_before else 0
        shown = self._began + _SHOWN_AFTER
        return shown if not self._ended and now < shown else self._until

    def give_up(self, now: int) -> bool:
        """This process leads on; return whether `on_lead` has to run again."""
        again = self.sealed
        if now >= self._until:
            self._not_before = now + _NEXT_TRY * self._bot.yield_within
        self.clear()
        if not again:
            self._tasks.go_on()
        return again

    def clear(self) -> None:
        """The preparation is over."""
        self.order = self._ended = 0
        self.done = self.sealed = self.wants_handler = False

    def _finish(self, handler: int, problem: str) -> bool:
        self.last = YieldReport(self.order, self._running, self._ended - self._began, handler, problem)
        self.done = True
        return True
