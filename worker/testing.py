"""For the tests of a bot: run it through ticks, a handoff to other code, a crash and a rollback, inside one test.

    from neverblink.worker.testing import Simulation

    def test_a_position_survives_the_deploy():
        with Simulation(Foresight) as bot:
            bot.ticks(5)
            bot.put("fill-1", {"market": "BTC", "size": 2})
            bot.hand_over(NewForesight)
            bot.ticks(1)
            assert bot.state.positions["BTC"] == 2

The simulation runs the shipped code; only the clock, the lease, the journal and the sockets are plain objects. Time
passes only when the test advances it: an hour of ticks takes about a second, and no test is flaky. Handlers may be
`async`; they run on the simulation's own event loop, so the test itself is a plain function. Their tasks run whenever
time passes.
"""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Awaitable, Collection, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar

from ..protocol import duration
from ..protocol.errors import NeverblinkError
from ..protocol.feed_assignment import BUFFER
from ..protocol.frame import Frame, decode_frame
from ..protocol.grid import START_GRACE
from ..protocol.handoff.handoff_events import Phase
from ..protocol.journal import RecordKind
from ..protocol.link import Follow, Lead, Retire, Run, Stop, TaskReport
from ..protocol.seat_events import Role
from .engine.leading import HEARTBEAT
from .engine.turns import TurnStep
from .simulation.feeds import SimulatedFeed
from .simulation.handoff import SimulatedHandoff, SimulatedProcess
from .simulation.world import SimulatedClock, SimulatedWorld
from .worker import Worker, WorkerBot

__all__ = ["CommandFailed", "HandoverFailed", "Killed", "Simulation", "SimulationError"]

S = TypeVar("S")

_START = datetime(2026, 1, 5, tzinfo=UTC)
_AWAIT_AT_MOST = 10.0
_ROUNDS = 100
_ENDED_WITHIN = 1.0
_TICKS_WITHIN = 60_000_000_000
_HANDOVER_WITHIN = 600_000_000_000


class SimulationError(NeverblinkError):
    """The test calls a method that is not possible now."""


class HandoverFailed(NeverblinkError):
    """The new code did not take over; the message says why. The old code leads, and is not affected."""


class CommandFailed(NeverblinkError):
    """A command failed: the message is the handler's exception, or why the command was refused."""


class Killed(BaseException):
    """Raised by `Simulation.kill`: the process ends at once, as by SIGKILL."""


class Simulation(Generic[S]):
    """One bot with the code `bot`, whose first tick is at the time `at` (with a zone) or the next time of the grid.

    Use it with `with`. If a handler raises and there is no follower, the method that let time pass raises it too. In
    the probation after `hand_over` the old code takes the bot back instead, and `rolled_back` has the reason.
    """

    def __init__(self, bot: type[Worker[S]], *, at: datetime = _START) -> None:
        # Before the first tick, which is to be at `at`, and too late for the tick before it.
        interval = WorkerBot(bot).interval
        began = int(at.timestamp() * 1_000_000) * 1000 - interval // (2 if interval > 2 * START_GRACE else 4)
        self.clock = SimulatedClock(began)
        self.rolled_back = ""
        """Why the last handoff was rolled back, "" if it was not."""
        self.calls: list[tuple[str, str]] = []
        """Every handler that was called, in order: the worker and the handler, whether the bot defines it or not."""
        self._world = SimulatedWorld(self.clock)
        self._loop = asyncio.new_event_loop()
        self._processes: dict[str, SimulatedProcess] = {}
        self._handoff: SimulatedHandoff | None = None
        self._deployments = 0
        self._standbys = 0
        self._commands = 0
        self._ticks = 0
        self._ended = ""
        self._running: SimulatedProcess | None = None
        self._settling = False
        self._ticked = False
        self._stuck = 0
        self._first = bot

    # --- what is there ----------------------------------------------------------------------------------------------

    @property
    def leader(self) -> Worker[S]:
        """The bot object in the process that leads. Raises `SimulationError` if none leads."""
        return self._leading.bot.worker

    @property
    def follower(self) -> Worker[Any]:
        """The bot object in the process that follows: the old one in the probation, or a standby."""
        for process in self._alive():
            if process.worker != self._world.holder:
                return process.bot.worker
        raise SimulationError(
            "there is no follower: there is one only between hand_over() and conclude(), and after stand_by()"
        )

    @property
    def state(self) -> S:
        """The state, as the leader has it."""
        return self.leader.state

    @property
    def settings(self) -> Any:
        """The settings in force in the leader, of the bot's own type."""
        return self._leading.bot.settings.current

    @property
    def tasks(self) -> tuple[TaskReport, ...]:
        """What the leader declared with `while_leading`: coroutines run whenever time passes, threads are "not run"."""
        return self._leading.engine.tasks.report()

    @property
    def now(self) -> int:
        """The wall clock, ns."""
        return self.clock.wall()

    @property
    def frames(self) -> list[Frame]:
        """Every frame journaled so far, one for each turn."""
        return [decode_frame(body) for kind, body in self._world.records if kind is RecordKind.FRAME]

    # --- time -------------------------------------------------------------------------------------------------------

    def ticks(self, count: int = 1) -> None:
        """Let time pass until `count` more ticks have run. For an event-driven bot use `advance`."""
        if not self._leading.bot.ticks:
            raise SimulationError(
                'this bot has tick = None, so no tick ever runs: let time pass with advance("10s")'
            )
        until = self._ticks + count
        while self._ticks < until:
            _ = self._leading
            self._pass(self._next_moment())

    def advance(self, time: str) -> None:
        """Let time pass: "250ms", "10s", "1d"."""
        end = self.clock.mono() + duration.of(time)
        while (at := self._next_moment()) < end:
            self._pass(at)
        self._pass(end)

    def spend(self, time: str) -> None:
        """Within a handler: let it take `time`, like a slow call. The other process runs on meanwhile."""
        running = self._running
        if running is None:
            raise SimulationError("spend() is for use in a handler: between two turns call advance()")
        if self._world.holder not in ("", running.worker):
            raise SimulationError(
                "spend() is for the process that leads: the leader does not wait for a follower's handlers"
            )
        end = self.clock.mono() + duration.of(time)
        while running.runtime.alive:
            others = [process.engine for process in self._alive() if process is not running]
            at = min([end, *(max(engine.wake_at(), self.clock.mono() + 1) for engine in others)])
            self.clock.go_on(at - self.clock.mono())
            for engine in others:
                engine.on_time()
            self._listen()
            if at >= end:
                return
        # It hung too long and was killed.
        raise Killed

    def step_clock(self, by: str) -> None:
        """Set the wall clock forward, or with a minus back, without letting time pass."""
        self.clock.step(duration.of(by))

    # --- the world outside ------------------------------------------------------------------------------------------

    def put(
        self,
        key: str,
        event: Any,
        to: Literal["all", "leader", "follower"] = "all",
        *,
        stream: str = "",
        n: int | None = None,
    ) -> None:
        """Let an event arrive from outside: in every process (as from a real exchange), or in one of them.

        `stream` and `n` are those of `inbox.put`.
        """
        for process in self._reached(to):
            process.engine.inbox.put(key, event, stream, n)
        if not self._settling:
            self._settle()

    def put_all(
        self, events: Iterable[tuple[str, Any]], to: Literal["all", "leader", "follower"] = "all"
    ) -> None:
        """Let several events, each with its key, arrive at the same moment: `on_events` gets them in one turn."""
        for key, event in events:
            for process in self._reached(to):
                process.engine.inbox.put(key, event)
        if not self._settling:
            self._settle()

    def publish(self, feed: str, *events: Any) -> None:
        """Let a feed publish events, each with the next number. Every process receives them.

        Any name is a feed in a simulation; its replay buffer has 16 MiB.
        """
        source = self._feed(feed)
        for event in events:
            source.publish(event, self.now)
        if not self._settling:
            self._settle()

    def restart_feed(self, feed: str) -> None:
        """Restart a feed: its numbers begin again, and its replay buffer is empty."""
        self._feed(feed).restart()

    def _feed(self, name: str) -> SimulatedFeed:
        return self._world.feeds.setdefault(name, SimulatedFeed(name, BUFFER))

    def _reached(self, to: str) -> list[SimulatedProcess]:
        return [
            process
            for process in self._alive()
            if to == "all" or (to == "leader") == (process.worker == self._world.holder)
        ]

    def send(self, name: str, **args: Any) -> Any:
        """Run an operator's command; return the bot's answer. Raises `CommandFailed`."""
        self._commands += 1
        key = f"simulated-{self._commands}"
        asked = ""
        while True:
            if self._world.holder != asked:
                # As the supervisor sends it: by its key it runs once.
                asked = self._leading.worker
                self._leading.engine.ordered(Run(key, name, args))
                self._settle()
            for process in self._processes.values():
                if key in process.answers:
                    answer = process.answers[key]
                    if answer.error:
                        raise CommandFailed(answer.error)
                    return answer.value
            _ = self._leading
            self._pass(self._next_moment())

    def set(self, **values: Any) -> None:
        """Change settings, as `neverblink settings` does. Raises `CommandFailed` if they are invalid."""
        self.send("settings", set=values)

    def reset(self, *names: str) -> None:
        """Reset settings to the defaults of the bot's class, as `neverblink settings --reset` does."""
        self.send("settings", reset=names)

    def halt(self) -> Any:
        """Halt the bot, as `neverblink halt` does; return the answer of its `on_halt`. Raises `CommandFailed`."""
        return self.send("halt")

    def pause(self) -> None:
        """Set `paused`, as `neverblink pause` does."""
        self.send("pause")

    def resume(self) -> None:
        """Clear `paused`."""
        self.send("resume")

    # --- other code, crashes and the end ----------------------------------------------------------------------------

    def hand_over(self, bot: type[Worker[Any]], *, ticks: int = 1, drop: Iterable[str] = ()) -> str:
        """Hand over to the code `bot`, as `neverblink deploy` does; the old code follows until `conclude`.

        The old code runs so many ticks more after the new code has loaded the state, as it always does in real life:
        none if it ticks less than once a minute. With `ticks=0` the handoff is at once.

        New code that would lose values of the state is refused, as by `neverblink deploy`. `drop` names the fields
        whose values may be lost, such as "realised" or "positions.size".

        Returns "newest" when a rollback would keep the newest state, else why not. Raises `HandoverFailed`.
        """
        if isinstance(drop, str):
            raise SimulationError(f'drop is {drop!r}: expected a list of fields, such as ["{drop}"]')
        admitted = tuple(drop)
        self.conclude()
        self._deployments += 1
        new = f"w{self._deployments + 1}"
        self.rolled_back = ""
        handoff = SimulatedHandoff(
            self._deployments,
            self._world.holder,
            new,
            self.clock,
            self._processes,
            lambda: self._spawn(new, bot, admitted),
            min(ticks, _TICKS_WITHIN // self._leading.bot.interval),
        )
        self._handoff = handoff
        handoff.begin()
        self._settle()
        end = self.clock.mono() + _HANDOVER_WITHIN
        while not handoff.ended and handoff.phase is not Phase.PROBATION:
            self._pass(min(end, self._next_moment()))
            if self.clock.mono() >= end:
                raise SimulationError(
                    f"no handoff within 10 simulated minutes: it waits for {handoff.holding}"
                )
        if handoff.ended:
            raise HandoverFailed(handoff.reason)
        return handoff.rollback

    def stand_by(self) -> None:
        """Start a standby on the leader's code, as with `standby = 1`: then the bot survives `crash()` and `kill()`."""
        self._standbys += 1
        worker = f"s{self._standbys}"
        self._spawn(worker, type(self.leader))
        self._settle()
        self._processes[worker].engine.ordered(Follow(self._world.holder, guard=True))
        self._settle()

    def conclude(self) -> None:
        """End the probation: the old process retires."""
        if self._handoff is not None and self._handoff.phase is Phase.PROBATION:
            self._handoff.conclude()
            self._settle()

    def roll_back(self, why: str = "the test wants it back") -> list[tuple[str, str]]:
        """In the probation: hand back to the old code, with the state as it is now; return the `calls` of that.

        The old code's `on_lead` runs a second time in its process, which `led_before` tells it.
        """
        handoff = self._handoff
        if handoff is None or handoff.phase is not Phase.PROBATION:
            raise SimulationError(
                "nothing to roll back to: the old code runs only between hand_over() and conclude()"
            )
        before = len(self.calls)
        handoff.revert(why)
        self._settle()
        while not handoff.ended:
            self._pass(self._next_moment())
        return self.calls[before:]

    def crash(self) -> None:
        """Kill the leader's process between two turns; the old code takes the bot back, or a standby takes over."""
        if len(list(self._alive())) < 2:
            raise SimulationError(
                "there is no follower to take over: crash between hand_over() and conclude(), or after stand_by()"
            )
        self._end(self._leading, "killed")
        self._settle()

    def kill(self) -> None:
        """Within a handler, or in a function that it calls: kill the process, as SIGKILL would. Never returns.

        Python still runs the `finally` blocks, but their effects do not leave the process.
        """
        if self._running is None:
            raise SimulationError("kill() is for use in a handler: between two turns call crash()")
        self._world.end(self._running.worker)
        raise Killed

    def stop(self) -> None:
        """Stop the bot for good: `on_stop` runs, and a standby retires before."""
        self.conclude()
        for process in self._alive():
            if process is not self._leading:
                process.engine.ordered(Retire())
        self._settle()
        self._leading.engine.ordered(Stop())
        self._settle()

    def close(self) -> None:
        """End all processes at once."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(_ended(tasks))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
        for runtime in self._world.runtimes.values():
            runtime.sockets.close()

    def __enter__(self) -> Simulation[S]:
        try:
            self._spawn("w1", self._first)
            self._settle()
            self._processes["w1"].engine.ordered(Lead())
            self._settle()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- parts ------------------------------------------------------------------------------------------------------

    @property
    def _leading(self) -> SimulatedProcess:
        process = self._processes.get(self._world.holder)
        if process is None:
            raise SimulationError(
                f"no process leads: {self._ended or 'the bot has not started, use it in a with statement'}"
            )
        return process

    def _alive(self) -> list[SimulatedProcess]:
        return [process for process in self._processes.values() if process.runtime.alive]

    def _spawn(self, worker: str, bot: type[Worker[Any]], drop: tuple[str, ...] | None = None) -> None:
        declared = WorkerBot(bot)
        for warning in declared.warnings:
            warnings.warn(f"bot {declared.name}: {warning}", stacklevel=3)
        process = self._processes[worker] = SimulatedProcess(self._world, worker, declared, drop)
        process.engine.tasks.loop = lambda: self._loop
        # They would not run the same way each time.
        process.engine.tasks.threads = False

    def _next_moment(self) -> int:
        moments = [process.engine.wake_at() for process in self._alive()]
        if self._handoff is not None:
            moments += self._handoff.alarms.values()
        if not moments:
            raise SimulationError("no process is left, so no time can pass")
        return max(min(moments), self.clock.mono() + self._stuck)

    def _check_idle(self) -> None:
        if self._settling:
            raise SimulationError(
                "a handler lets the simulation go on while the handler runs: in handlers use put(), spend(), "
                "step_clock() and kill() only"
            )

    def _pass(self, until: int) -> None:
        self._check_idle()
        # A handler may have spent more time than this.
        self.clock.go_on(max(0, until - self.clock.mono()))
        if self._handoff is not None:
            self._handoff.fire_timers()
        before = self.clock.mono()
        # A step that is due now and does not run may wait for a later time.
        self._stuck = 0 if self._settle() or self.clock.mono() > before else 1

    def _settle(self) -> bool:
        """Run everything that can run without time passing; return whether anything did."""
        self._check_idle()
        self._settling = True
        try:
            return self._go_on()
        finally:
            self._settling = False

    def _go_on(self) -> bool:
        self._ticked = False
        any_busy, busy = False, True
        while busy:
            if asyncio.all_tasks(self._loop):
                self._loop.run_until_complete(asyncio.sleep(0))
            busy = self._world.deliver()
            for process in self._alive():
                busy |= self._run(process)
            busy |= self._listen()
            busy = busy or self._let_tasks_end()
            any_busy |= busy
        return any_busy

    def _let_tasks_end(self) -> bool:
        """Give tasks that were told to end the rounds of the event loop that they need; return whether one ended."""
        for _ in range(_ROUNDS):
            if not any(process.engine.tasks.ending for process in self._alive()):
                break
            self._loop.run_until_complete(asyncio.sleep(0))
        return any(process.engine.tasks.dirty for process in self._alive())

    def _run(self, process: SimulatedProcess) -> bool:
        busy = False
        while self._may_go_on(process) and (step := process.engine.next_step()) is not None:
            busy = True
            self._carry_out(process, step)
        if process.runtime.alive and process.engine.left is not None:
            survived = self._survived(process)
            self._gone(process, process.engine.left.how)
            if process.failed and not survived:
                raise SimulationError(process.failed)
            return True
        while process.runtime.alive and process.engine.idle():
            busy = True
        return busy

    def _may_go_on(self, process: SimulatedProcess) -> bool:
        """Whether it is alive, and its next step is not a second tick: a slow bot's ticks run one at a time too."""
        if not process.runtime.alive:
            return False
        leads = process.engine.role is Role.LEADING
        due = process.engine.replica.due + process.bot.interval
        return not (self._ticked and leads and due <= self.now)

    def _carry_out(self, process: SimulatedProcess, step: TurnStep) -> None:
        self._running = process
        if step.name != HEARTBEAT:
            self.calls.append((process.worker, step.name))
        try:
            value = step.call()
            if inspect.isawaitable(value):
                value = self._loop.run_until_complete(_within(value, step.name))
        except Killed:
            if process.runtime.alive or not process.failed:
                self._end(process, "killed")
        except (Exception, SystemExit, asyncio.CancelledError) as problem:
            process.engine.raised(step, problem)
            command = step.turn is not None and step.turn.kind == "command"
            if not (command or self._survived(process)):
                # No process can go on, so the test gets the exception.
                self._gone(process, "fail")
                raise
        else:
            process.engine.done(step, value)
            if step.turn is not None and step.turn.tick is not None:
                self._ticks += process.bot.ticks
                self._ticked = True
                if self._handoff is not None:
                    self._handoff.ticked()
        finally:
            self._running = None

    def _survived(self, process: SimulatedProcess) -> bool:
        """Whether another process goes on when this one ends."""
        others = [each.engine.seat for each in self._alive() if each is not process]
        active = self._handoff is not None and not self._handoff.ended
        return active or any(seat.guard and seat.loaded for seat in others)

    def _gone(self, process: SimulatedProcess, how: str) -> None:
        """A process has left by itself."""
        # Its last messages come before the event of its end.
        self._listen()
        self._end(process, process.failed or ("the bot was stopped" if how == "stop" else "it left"))

    def _end(self, process: SimulatedProcess, reason: str) -> None:
        self._ended = reason
        process.engine.tasks.end()
        self._world.end(process.worker)
        if self._handoff is not None:
            self._handoff.exited(process.worker, process.failed or reason)

    def _listen(self) -> bool:
        found = bool(self._world.reported)
        while self._world.reported:
            worker, message = self._world.reported.popleft()
            self._processes[worker].take(message)
            if self._handoff is not None:
                self._handoff.received(worker, message)
        handoff = self._handoff
        if handoff is not None and handoff.phase is Phase.ROLLED_BACK:
            self.rolled_back = handoff.reason
        return found


async def _ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    if tasks:
        # A task may refuse to end.
        await asyncio.wait(tasks, timeout=_ENDED_WITHIN)


async def _within(value: Awaitable[Any], name: str) -> Any:
    limit = asyncio.timeout(_AWAIT_AT_MOST)
    try:
        async with limit:
            return await value
    except TimeoutError:
        if not limit.expired():
            raise
        raise SimulationError(
            f"{name} awaits something that never completes: in a simulation nothing else runs while a handler waits, "
            "so give the bot an object that answers at once"
        ) from None
