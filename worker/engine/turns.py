"""Turns: the only time in which the bot's state may change, one after another.

This is the leader's work: which turn is next, what its handler receives, and the frame at its end. A tick goes first
when it is due; timers and the inbox have the time in between. When the bot is so late that a tick is always due, they
have one turn after each tick, so that ticks never starve a fill.

An event-driven bot has a grid too. Its ticks are *heartbeats*: turns without a handler, whose frames show that the bot
could have run. So a handoff, the hang detection and an audit find what they find with ticks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol

import msgspec

from ...protocol import duration
from ...protocol.clock import BELIEVED_AFTER
from ...protocol.feed_queue import FeedItem, FeedMark
from ...protocol.frame import (
    NOTHING,
    Armed,
    Frame,
    Item,
    Kind,
    Led,
    Timing,
    Traffic,
    Yielded,
    encode_frame,
)
from ...protocol.grid import (
    STEP_THRESHOLD,
    ClockReading,
    ClockStep,
    Gap,
    GapKind,
    Grid,
    Plan,
    Policy,
    detect_step,
    plan,
    rebase,
)
from ...protocol.journal import RecordKind
from ...protocol.window import Window, first_open
from ...protocol.wire import MAX_MESSAGE
from ..model.handler_types import Command, Event, Tick, Timer
from ..model.settings import SettingsCell
from ..model.table import StateError
from ..replication.interfaces import WorkerIO
from ..replication.publisher import StateStream
from .batch_limit import MOST_BYTES, BatchLimit
from .command_turns import (
    CommandableBot,
    CommandTurns,
    ReceivedCommand,
    decode_command,
)

__all__ = ["Bot", "HookTimeout", "Turn", "TurnStep", "Turns"]


MAX_FRAME = MAX_MESSAGE - 1024
"""The largest frame, in bytes: it is sent within another message."""

_OWED_FOR = 20_000_000
"""A tick whose slot passed in a transfer still runs if it was due no longer ago than this, ns, or is the only one."""

_WITH_ALL: tuple[Kind, ...] = ("stop", "reset")
"""Turns whose frames have every Cell that was touched, also one that was encoded a moment ago."""

_SLACK = 2_000_000
"""The free time needed for a handoff, ns, or a quarter of an interval if that is less. Many times what a handoff
takes, so that it seldom makes a tick late."""


class HookTimeout(Exception):
    """A hook took longer than it may, and was cancelled."""


class Bot(CommandableBot, Protocol):
    """The user's code, as the engine sees it: a `Worker` or a `join` loop."""

    interval: int
    """From tick to tick, or from heartbeat to heartbeat, ns."""
    ticks: bool
    """Whether it has ticks. Without them it is event-driven: its grid is that of heartbeats, at which no code runs."""
    windows: tuple[Window, ...]
    overrun: Policy
    decode_event: Callable[[bytes], Any]
    batches: bool
    """All events that wait come in one turn, to `call_events`."""
    gathers: bool
    """Whether it is a loop: events, timers and commands come with the tick, or without ticks in a turn of the loop."""
    settings: SettingsCell
    derives: Literal["", "on_load", "on_state"]
    """Its handler that derives from the state what it keeps beside it."""
    yields: bool
    """It has an `on_yielding`."""
    yield_within: int
    """How long its tasks and `on_yielding` may take before this process lets go of the lease, ns."""

    def call_start(self) -> Any: ...
    def call_load(self, state: Any) -> Any: ...
    def call_state(self, changed: frozenset[str]) -> Any: ...
    def call_lead(self, in_doubt: Any) -> Any: ...
    def call_tick(self, tick: Tick[Any]) -> Any: ...
    def call_event(self, event: Event) -> Any: ...
    def call_events(self, events: list[Event]) -> Any: ...
    def call_timer(self, timer: Timer) -> Any: ...
    def call_yielding(self) -> Any: ...
    def call_yield(self) -> Any: ...
    def call_retire(self) -> Any: ...
    def call_stop(self) -> Any: ...


class Turn(msgspec.Struct):
    """One turn, from its beginning to its boundary. Times as in `Timing`."""

    kind: Kind
    name: str
    due: int
    call: Callable[[], Any]
    tick: Tick[Any] | None = None
    """The tick or heartbeat that it is; None for other turns."""
    passed: Tick[Any] | None = None
    """What a loop gets for this turn; None for a turn in which the loop's body does not run."""
    gaps: tuple[Gap, ...] = ()
    items: tuple[Item, ...] = ()
    fed: tuple[FeedItem, ...] = ()
    """The events of feeds."""
    asked: ReceivedCommand | None = None
    """What the commands among the items request."""
    timers: tuple[tuple[str, Armed], ...] = ()
    about: Led | None = None
    began: int = 0
    late: int = 0

    @property
    def title(self) -> str:
        """Its name in reports."""
        return self.name or (f"tick {self.tick.seq}" if self.tick is not None else "")


class Turns:
    """Makes the leader's turns. Also the `TurnGuard` of the state: `open` while a turn runs."""

    def __init__(self, bot: Bot, stream: StateStream, io: WorkerIO) -> None:
        self.open = False
        self.current: Turn | None = None
        """The open turn."""
        self.rests_until = 0
        """Computed at the end of a turn: when the next turn is due, CLOCK_MONOTONIC ns; 0 when that may be now."""
        self._bot = bot
        self._has_ticks = bot.ticks
        self._loops = bot.gathers
        self._gathers = bot.gathers and bot.ticks
        self._batches = BatchLimit(bot.interval) if bot.batches else None
        self._decode = bot.decode_event
        self._interval = stream.replica.lost.interval = bot.interval
        self._farthest = 2 * bot.interval
        """The longest time until the next tick, ns, also if the clock goes back by up to an interval."""
        self._replica, self._writer, self._publisher = stream
        self._paced = bool(stream.replica.cells.held_names)
        """The state has Cells, whose encoding may take long."""
        self._clock = io.clock
        self._wall, self._mono = io.clock.wall, io.clock.mono
        self._grid = Grid(bot.interval)
        self._commanding = CommandTurns(bot, stream.replica)
        self._apart: int | None = None
        """Wall clock minus monotonic clock at the last tick, ns."""
        self._looked = 0
        """The time of that tick, CLOCK_MONOTONIC."""
        self._suspended = 0
        """The machine's suspended time at that tick, ns."""
        self._behind_since = 0
        """Since when the wall clock is before the last tick of another process, CLOCK_MONOTONIC; 0 when it is not."""
        self._due = 0
        """When the tick after the last is due, wall clock; 0 when no tick ever ran."""
        self._step: ClockStep | None = None
        self._gap_kind: GapKind = "missed"
        self._gap_cause = ""
        self._after_tick = False
        self._taken_over = False
        """Whether no tick has run since this process began to lead."""
        self._owed = 0
        """Ticks before this index run late, whatever the bot's overrun policy: neverblink made them late."""

    # which turn

    def begin_leading(self, cause: str) -> None:
        """Begin to lead. `cause` is recorded for the ticks that no process ran before this process's first."""
        self._apart = None
        self._step = None
        self._gap_kind = "missed"
        self._gap_cause = cause
        self._after_tick = False
        self._taken_over = True
        self._owed = 0
        replica = self._replica
        replica.lead()
        self._behind_since = 0
        self._grid = self._grid_of_state()
        if replica.due:
            # The release before may have had another interval: convert its position to this grid.
            replica.seq = self._grid.seq_at(replica.due)
        self._due = self.tick_due()

    def next(self) -> Turn | None:
        """Return the turn that is due now, None when there is none."""
        replica = self._replica
        inbox, timers = replica.inbox, replica.timers
        order = inbox.order
        wall = self._wall()
        # A loop takes them with its tick, and need not be woken for each before that.
        if not self._gathers:
            if inbox.arrived:
                inbox.sort_in()
            if order.aside:
                inbox.release(wall)
        if self._due - wall > self._farthest:
            self._look_for_rebase(wall)
        timer = item = None
        if not self._gathers and (order.line or inbox.feeds.waiting or timers.soonest <= wall):
            timer = timers.due(wall)
            item = inbox.peek()
        if self._due <= wall and not (self._after_tick and (timer is not None or item is not None)):
            turn = self._tick()
            if turn is not None:
                return turn
        if timer is not None:
            return self._timer_turn(*timer, wall)
        if item is None:
            return None
        if self._loops:
            return self._loop_turn(wall)
        if self._batches is not None and item.kind == "event":
            # A heartbeat may be late; a tick is not to wait for a batch.
            until = self._due - wall if self._has_ticks else 0
            return self._batch_turn(inbox.batch(self._batches.events(until), MOST_BYTES))
        return self._item_turn(item)

    def next_due(self, wall: int) -> int:
        """When the next turn is due, wall clock, at time `wall`."""
        due = self._due if self._due > wall else self._plan(wall, self._bot.overrun).due
        if self._gathers:
            return due
        due = min(due, self._replica.inbox.order.due)
        timer = self._replica.timers.next
        return due if timer is None else min(due, timer)

    def tick_due(self) -> int:
        """When the tick after the last is due, wall clock; 0 when no tick ever ran."""
        seq = self._replica.seq
        return 0 if seq is None else self._grid_of_state().due(seq + 1)

    @property
    def on_time(self) -> bool:
        """Whether no tick or heartbeat is due."""
        return self._due > self._wall()

    def next_tick(self) -> int:
        """When the next tick is or was due, CLOCK_MONOTONIC ns; 0 when no tick ever ran."""
        return max(1, self._mono() + self._due - self._wall()) if self._due else 0

    def window_open(self) -> str:
        """The name of an open protected window, "" when there is none."""
        window = first_open(self._bot.windows, self._wall())
        return window.name if window is not None else ""

    def window_closes(self) -> int:
        """When the open protected window closes, wall clock; 0 when there is none."""
        wall = self._wall()
        window = first_open(self._bot.windows, wall)
        return window.next(wall).closes if window is not None else 0

    def slack(self, needs: int = 0) -> bool:
        """Whether there is enough time before the next tick for another process to take over.

        `needs`: it needs so long to prepare for that, ns. An event-driven bot has a timer to be on time for.
        """
        wall = self._wall()
        if not self._has_ticks:
            due = self._replica.timers.next or wall + self._interval
        else:
            due = self._due if self._due > wall else self._plan(wall, self._bot.overrun).due
        interval = self._bot.interval
        return due - wall >= min(_SLACK, interval // 4) + min(needs, interval // 2)

    def lead_turn(self, about: Led, call: Callable[[], Any]) -> Turn:
        wall = self._wall()
        turn = Turn("lead", "on_lead", wall, call, about=about)
        if self._loops and not self._has_ticks:
            # The loop has no tick soon in which it could look at the state and the decisions in doubt.
            turn.passed = self._for_loop(wall, wall, first=True)
        return turn

    def lead_on_turn(self, call: Callable[[], Any]) -> Turn:
        """`on_lead` in the same epoch, because a handoff was given up after `on_yielding` had run."""
        return Turn("event", "on_lead", self._wall(), call)

    def stop_turn(self, call: Callable[[], Any]) -> Turn:
        return Turn("stop", "on_stop", self._wall(), call)

    # a turn

    def begin(self, turn: Turn, untouched: bool = False) -> None:
        """Open the turn. Raises `StateError` when the state was changed since the last one.

        `untouched`: `untouched()` has just returned True, so the state need not be checked again.
        """
        if not untouched and (touched := self._replica.cells.differing(self._replica.state)):
            raise _changed_outside(touched)
        turn.began = self._mono()
        turn.late = max(0, self._wall() - turn.due)
        if turn.asked is not None:
            # Before the bot's own code, which may run in this turn.
            if turn.asked.change is not None:
                self._replica.settings.adopt(turn.asked.change)
            if turn.asked.pause is not None:
                self._replica.paused = turn.asked.pause
        self.current = turn
        self.open = True
        if turn.asked is not None:
            turn.asked.carry_out()

    def finish(self, turn: Turn, value: Any) -> Frame:
        """Close the turn with its frame. Raises `StateError` when the state cannot be encoded."""
        self.open = False
        self.current = None
        replica = self._replica
        inbox, timers = replica.inbox, replica.timers
        wall, mono = self._wall(), self._mono()
        for name, _ in turn.timers:
            if timers.all().get(name) in [armed for named, armed in turn.timers if named == name]:
                timers.spend(name, wall)
        if turn.items:
            inbox.apply(turn.items, wall)
        if turn.fed:
            inbox.apply_fed(turn.fed)
        asked = turn.asked
        pause = settings = None
        if asked is not None:
            pause = asked.pause
            settings = asked.change.packed if asked.change is not None else None
        seq = turn.tick.seq if turn.tick is not None else (-1 if replica.seq is None else replica.seq)
        timing = Timing(
            due=turn.due,
            late=turn.late,
            took=mono - turn.began,
            ended=wall,
            mono=mono,
            gaps=turn.gaps,
            step=self._step if turn.tick is not None else None,
            ahead=replica.ahead if turn.tick is not None else 0,
            heartbeat=turn.tick is not None and not self._has_ticks,
        )
        applied = tuple(item.key for item in turn.items) if turn.items else ()
        # Its name is needed only if it is the cause of lost ticks.
        title = turn.title if timing.took >= self._interval else ""
        frame = self._emit(turn.kind, seq, timing, applied, turn.about, pause, settings, title)
        self._after_tick = turn.kind == "tick"
        if turn.tick is not None:
            self._step = None
            self._gap_kind, self._gap_cause = "skipped", "the process was not scheduled in time"
            encoding = replica.cells.pace.spent if self._paced else 0
            if encoding and timing.took + encoding >= self._interval:
                cause = f"encoding the cells of the state took {duration.about(encoding)}"
                replica.lost.add(wall, wall + encoding, "skipped", cause)
            self._due = turn.due + self._interval
        if asked is not None and asked.rebase:
            self.rebase()
        due = self._due
        waits = False
        if not self._gathers:
            due = min(due, timers.soonest or timers.look(), inbox.order.due)
            waits = bool(inbox.arrived or inbox.order.line or inbox.feeds.waiting)
        self.rests_until = 0 if due <= wall or waits else mono + due - wall
        if self._batches is not None and turn.kind == "event":
            self._batches.took(len(turn.items) + len(turn.fed), self._mono() - turn.began)
        return frame

    def keep_settings(self, turn: Turn) -> None:
        """Restore the old settings and the old state, because the bot refused the new ones."""
        asked = turn.asked
        if asked is not None:
            asked.take_back()
        if asked is not None and asked.change is not None:
            self._replica.settings.undo(asked.change, asked.before)
            asked.change = None

    def abandon(self) -> None:
        """Close the turn without a frame, because its handler raised."""
        self.open = False
        self.current = None

    def close_epoch(self, to: str, order: int) -> None:
        """Write the last frame of this epoch; nothing may have changed since `check_untouched`.

        `closed` does the rest, for which the successor need not wait.
        """
        replica, mono = self._replica, self._mono()
        frame = Frame(
            epoch=replica.epoch,
            number=replica.number + 1,
            seq=-1 if replica.seq is None else replica.seq,
            kind="yield",
            schema=replica.schema,
            prev=replica.digest,
            timing=Timing(ended=self._wall(), mono=mono),
            # A Cell that waits has to be there for the successor.
            changes=replica.cells.collect(replica.state) if replica.cells.pace.waiting else NOTHING,
            traffic=replica.inbox.traffic(()) or _QUIET,
            timers=replica.timers.take_changes(),
            about=Yielded(to, order, mono),
        )
        body = encode_frame(frame)
        if len(body) > MAX_FRAME:
            raise self._too_large(frame, len(body))
        self.closing = frame, body, self._writer.append(RecordKind.FRAME, body)

    def closed(self, successor: str) -> None:
        """Apply and publish the frame of `close_epoch`, which was sent to the successor."""
        closing, self.closing = self.closing, None
        if closing is not None:
            self._replica.advance(*closing)
            self._publisher.publish(*closing, but_for=successor)

    def reset_frame(self) -> Frame:
        """Make a frame with the whole state, which replaces that of all frames before."""
        self._replica.cells.forget()
        seq = -1 if self._replica.seq is None else self._replica.seq
        return self._emit(
            "reset",
            seq,
            Timing(ended=self._wall(), mono=self._mono()),
            (),
            None,
            # A worker that begins with an older state is paused by no other frame.
            self._replica.paused or None,
            self._replica.settings.packed,
        )

    def untouched(self) -> bool:
        """Whether the state has not changed since the last turn."""
        try:
            return not self._replica.cells.differing(self._replica.state)
        except StateError:
            return False

    def check_untouched(self) -> None:
        """Raise `StateError` when the state differs from the last boundary."""
        touched = self._replica.cells.differing(self._replica.state)
        if touched:
            raise _changed_outside(touched)

    # parts

    def _tick(self) -> Turn | None:
        replica, bot = self._replica, self._bot
        last = replica.seq
        wall, mono = self._wall(), self._mono()
        before, apart = self._apart, wall - mono
        if before is not None and not -STEP_THRESHOLD < apart - before < STEP_THRESHOLD:
            self._look_for_step(before, ClockReading(wall, mono))
        if before is None:
            self._suspended = self._clock.suspended()
        self._apart, self._looked = apart, mono
        first = self._taken_over
        if last is None or self._step is not None or first or wall >= self._due + self._interval:
            planned = self._planned(wall)
            if planned is None:
                return None
            seq, due, gaps = planned.seq, planned.due, planned.gaps
        else:
            # The usual case: its slot is the present one.
            seq, due, gaps = last + 1, self._due, ()
        if not self._has_ticks:
            self._taken_over = False
            heartbeat = Tick(seq, due, max(0, wall - due), self._interval, replica.state)
            return Turn("tick", f"heartbeat {seq}", due, _nothing, heartbeat, gaps=gaps)
        tick = Tick(
            seq=seq,
            due=due,
            late=max(0, wall - due),
            interval=self._interval,
            state=replica.state,
            gaps=gaps,
            first=first,
            open_windows=tuple(window for window in bot.windows if window.open_at(due))
            if bot.windows
            else (),
        )
        turn = Turn("tick", "", due, partial(bot.call_tick, tick), tick, gaps=gaps)
        if self._gathers:
            turn.timers = tuple((n, armed) for n, armed in replica.timers.all().items() if armed.due <= wall)
            self._gather(turn, tick, replica.inbox.ready(wall), wall)
        return turn

    def _planned(self, wall: int) -> Plan | None:
        """The tick that is due, None when there is none."""
        planned = self._plan(wall, self._bot.overrun)
        if planned.due > wall:
            return None
        if self._taken_over:
            self._taken_over = False
            # What the bot's own turns overran before the transfer is not owed.
            missed = next((place for place, gap in enumerate(planned.gaps) if gap.kind == "missed"), -1)
            first = planned.gaps[missed].first if missed >= 0 else planned.seq
            if first < planned.seq and (
                planned.seq - first == 1 or wall - self._grid.due(first) <= _OWED_FOR
            ):
                self._owed = planned.seq
                return Plan(first, self._grid.due(first), planned.gaps[:missed])
        if (self._replica.seq or 0) + 1 < self._owed:
            planned = self._plan(wall, "catch-up")
        return planned

    def _plan(self, wall: int, policy: Policy) -> Plan:
        return plan(
            self._grid,
            self._replica.seq,
            wall,
            policy,
            step=self._step,
            kind=self._gap_kind,
            cause=self._gap_cause,
            lost=self._replica.lost.times,
        )

    def _look_for_step(self, before: int, now: ClockReading) -> None:
        """The clocks' difference was `before` at the last tick and has changed: a clock was stepped, or has drifted."""
        last = ClockReading(before + self._looked, self._looked)
        suspended = self._clock.suspended()
        asleep, self._suspended = suspended - self._suspended, suspended
        if asleep >= STEP_THRESHOLD:
            self._step = ClockStep(now.wall, asleep, suspended=True)
            return
        self._step = detect_step(last, now) or self._step

    def rebase(self) -> None:
        """Accept the wall clock, and make the next tick due at its next grid time. For an operator."""
        self._clock.accept()
        wall = self._wall()
        if self._replica.seq is not None and self._due - wall > self._farthest:
            self._rebase(wall)

    def _look_for_rebase(self, wall: int) -> None:
        """Rebase the grid, because the next tick is too far away: the clock went back, or was wrong before.

        If this process has ticked, the step of the clock has lasted already. If the last tick was another process's,
        its clock may have been right and the present one wrong, so wait whether the difference lasts.
        """
        if self._taken_over:
            self._behind_since = self._behind_since or self._mono()
            if self._mono() - self._behind_since < BELIEVED_AFTER:
                return
        self._rebase(wall)

    def _rebase(self, wall: int) -> None:
        replica = self._replica
        assert replica.seq is not None
        by = wall - self._due
        self._grid = rebase(self._interval, replica.seq, wall)
        replica.ahead = -self._grid.origin // self._interval
        self._due = self._grid.due(replica.seq + 1)
        self._step = ClockStep(wall, by)
        self._apart, self._looked, self._suspended = (
            wall - self._mono(),
            self._mono(),
            self._clock.suspended(),
        )
        replica.timers.rebase(wall)

    def _grid_of_state(self) -> Grid:
        """The grid of the state's last tick if it has this interval, else the default grid."""
        replica, interval = self._replica, self._interval
        if replica.seq is not None and replica.due == (replica.seq - replica.ahead) * interval:
            return Grid(interval, -replica.ahead * interval)
        return Grid(interval)

    def _timer_turn(self, name: str, armed: Armed, wall: int) -> Turn:
        timer = Timer(name, armed.due, wall - armed.due, armed.every)
        turn = Turn(
            "timer", f"timer {name}", armed.due, lambda: self._bot.call_timer(timer), timers=((name, armed),)
        )
        if self._loops:
            self._gather(turn, self._for_loop(armed.due, wall), [], wall)
        return turn

    def _loop_turn(self, wall: int) -> Turn:
        """A turn of an event-driven loop, with all events and commands that wait."""
        items = self._replica.inbox.ready(wall)
        events = sum(item.kind == "event" for item in items)
        due = items[0].at if items else wall
        name = (
            f"event {_name_of(items[0])}"
            if len(items) == 1 and events
            else f"{len(items)} events and commands"
        )
        turn = Turn("event" if events else "command", name, due, _nothing)
        self._gather(turn, self._for_loop(due, wall), items, wall)
        return turn

    def _for_loop(self, due: int, wall: int, *, first: bool = False) -> Tick[Any]:
        """What an event-driven loop gets for a turn, before `_gather`."""
        replica = self._replica
        return Tick(
            seq=0 if replica.seq is None else replica.seq,
            due=due,
            late=max(0, wall - due),
            interval=self._interval,
            state=replica.state,
            first=first,
            open_windows=tuple(window for window in self._bot.windows if window.open_at(wall)),
        )

    def _batch_turn(self, batch: list[Item | FeedItem]) -> Turn:
        items, fed = _parted(batch)
        name = f"event {_name_of(batch[0])}" if len(batch) == 1 else f"{len(batch)} events"
        self._replica.inbox.feeds.mark(fed)
        return Turn(
            "event",
            name,
            batch[0].at,
            lambda: self._bot.call_events([self._event(item) for item in batch]),
            items=items,
            fed=fed,
        )

    def _item_turn(self, item: Item | FeedItem) -> Turn:
        if item.kind == "event":
            items, fed = _parted([item])
            self._replica.inbox.feeds.mark(fed)
            return Turn(
                "event",
                f"event {_name_of(item)}",
                item.at,
                lambda: self._bot.call_event(self._event(item)),
                items=items,
                fed=fed,
            )
        asked = ReceivedCommand()
        self._commanding.take(item, asked)
        name, _ = decode_command(item)
        return Turn("command", f"command {name}", item.at, asked.call or _nothing, items=(item,), asked=asked)

    def _gather(self, turn: Turn, tick: Tick[Any], items: list[Item | FeedItem], wall: int) -> None:
        """Make it a turn of a loop, with these items, and the timers that it has already."""
        events: list[Event] = []
        commands: list[Command] = []
        turn.items, turn.fed = _parted(items)
        self._replica.inbox.feeds.mark(turn.fed)
        for item in items:
            if item.kind == "event":
                events.append(self._event(item))
                continue
            turn.asked = turn.asked or ReceivedCommand()
            own = self._commanding.take(item, turn.asked)
            if own is not None:
                commands.append(Command(item.key, *own))
        turn.passed = tick = msgspec.structs.replace(
            tick,
            events=tuple(events),
            timers=tuple(
                Timer(name, armed.due, wall - armed.due, armed.every) for name, armed in turn.timers
            ),
            commands=tuple(commands),
            answers={},
            halt=turn.asked is not None and turn.asked.halt,
        )
        if turn.tick is not None:
            turn.tick = tick
        turn.call = partial(self._bot.call_tick, tick)

    def _event(self, item: Item | FeedItem) -> Event:
        mark = self._replica.inbox.mark_of(item)
        data = self._decode(item.data)
        key = item.key or _name_of(item)
        if mark is not None:
            restarted = isinstance(mark, FeedMark) and mark.restarted
            return Event(key, data, item.at, item.stream, item.n, mark.gap, mark.late, restarted)
        return Event(key, data, item.at, item.stream, item.n)

    def _emit(
        self,
        kind: Kind,
        seq: int,
        timing: Timing,
        applied: tuple[str, ...],
        about: Led | None,
        paused: bool | None,
        settings: bytes | None = None,
        title: str = "",
    ) -> Frame:
        replica = self._replica
        inbox, timers = replica.inbox, replica.timers
        frame = Frame(
            epoch=replica.epoch,
            number=replica.number + 1,
            seq=seq,
            kind=kind,
            schema=replica.schema,
            prev=replica.digest,
            timing=timing,
            changes=replica.cells.collect(replica.state, all_of_it=kind in _WITH_ALL),
            traffic=(inbox.traffic(applied) or _QUIET)
            if applied or inbox.received or inbox.repeated or inbox.drops or inbox.ranges
            else _QUIET,
            timers=timers.take_changes() if timers.changes else {},
            paused=paused,
            about=about,
            settings=settings,
        )
        body = encode_frame(frame)
        if len(body) > MAX_FRAME:
            raise self._too_large(frame, len(body))
        position = self._writer.append(RecordKind.FRAME, body)
        replica.advance(frame, body, position, title)
        self._publisher.publish(frame, body, position)
        return frame

    def _too_large(self, frame: Frame, size: int) -> StateError:
        """The error for a frame that is too large to be sent or read."""
        sizes = {name: len(data) for name, data in frame.changes.cells.items()}
        sizes |= {
            name: sum(len(key) + len(row or b"") for key, row in rows)
            for name, rows in frame.changes.tables.items()
        }
        largest = max(sizes, key=lambda name: sizes[name], default="")
        return StateError(
            f"state field {largest!r}: this turn's changes are {size} bytes, at most {MAX_FRAME} can be sent: "
            "make it a Table, of which only changed rows are sent, or change less in one turn",
            largest,
        )


_QUIET = Traffic()


def _changed_outside(touched: tuple[str, ...]) -> StateError:
    return StateError(
        f"state field {', '.join(touched)} was changed outside a turn: change the state in on_tick, "
        "on_event, on_timer or on_command only, and let background tasks use self.inbox.put",
        touched[0],
    )


def _parted(batch: list[Item | FeedItem]) -> tuple[tuple[Item, ...], tuple[FeedItem, ...]]:
    """What was put, and what feeds have published."""
    fed = tuple([item for item in batch if isinstance(item, FeedItem)])
    if len(fed) == len(batch):
        return (), fed
    return tuple([item for item in batch if isinstance(item, Item)]), fed


def _name_of(item: Item | FeedItem) -> str:
    """What identifies it. An event of a feed is identified by its number."""
    return item.key or f"{item.stream}/{item.n}"


def _nothing() -> None:
    """The call of a command that runs no code of the bot."""


class TurnStep(msgspec.Struct):
    """Something that the bot's code has to do: a turn, or a hook (`turn` is None). Call it and await the result."""

    name: str
    call: Callable[[], Any]
    turn: Turn | None = None
    within: int = 0
    """How long a hook may take, ns; 0 for no bound."""
