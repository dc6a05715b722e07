"""What a part of the supervisor runs on in a test: a clock that the test advances, and a recording worker pool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from neverblink.protocol.events import Event
from neverblink.protocol.frame import Schema
from neverblink.protocol.link import Hello, Report, SupervisorMessage
from neverblink.protocol.wire import PROTOCOL
from neverblink.supervisor.bot.bot_state import BotState
from neverblink.supervisor.system.event_bus import EventBus
from neverblink.supervisor.system.process import ProcessActivity
from neverblink.supervisor.workers.platform import Child, Launch, Platform
from neverblink.supervisor.workers.registry import Member, WorkerRegistry
from neverblink.supervisor.workers.spawn import SpawnError

__all__ = ["FakeBotContext", "ManualClock", "RecordingWorkerPool", "hello", "report"]


class ManualClock:
    """A scheduler whose time the test advances; ns."""

    def __init__(self) -> None:
        self.now = 1_000_000_000
        self._waiting: list[_Alarm] = []

    def call_later(self, delay: float, callback: Callable[[], object], /) -> _Alarm:
        alarm = _Alarm(self.now + round(delay * 1e9), callback)
        self._waiting.append(alarm)
        return alarm

    def advance(self, ns: int) -> None:
        """Advance the clock; callbacks that are due run in order."""
        end = self.now + ns
        while due := [alarm for alarm in self._waiting if not alarm.cancelled and alarm.at <= end]:
            first = min(due, key=lambda alarm: alarm.at)
            self._waiting.remove(first)
            self.now = max(self.now, first.at)
            first.callback()
        self.now = end

    @property
    def waiting(self) -> int:
        return len([alarm for alarm in self._waiting if not alarm.cancelled])


class _Alarm:
    def __init__(self, at: int, callback: Callable[[], object]) -> None:
        self.at = at
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class RecordingWorkerPool:
    """A worker pool that records its calls in `did`. Workers in `missing` cannot be started."""

    def __init__(self, registry: WorkerRegistry) -> None:
        self.did: list[tuple[str, ...]] = []
        self.sent: list[tuple[str, SupervisorMessage]] = []
        self.missing: set[str] = set()
        self._registry = registry

    def start(self, worker: str, *_: object, **__: object) -> Member:
        if worker in self.missing:
            raise SpawnError("there is no interpreter 'python9.9'")
        member = Member(worker, "r2", Path("/nowhere"), 0)
        member.pid = 4711
        self._registry.add(member)
        self.did.append(("start", worker))
        return member

    def send(self, worker: str, message: SupervisorMessage) -> bool:
        self.did.append((str(type(message).__struct_config__.tag), worker))
        self.sent.append((worker, message))
        return True

    def next_worker(self) -> str:
        return "w1"

    def drain(self) -> None:
        pass

    def free(self, worker: str) -> None:
        self.did.append(("free", worker))

    def dismiss(self, worker: str, why: str) -> None:
        self.did.append(("dismiss", worker, why))

    def kill(self, worker: str, reason: str) -> None:
        self.did.append(("kill", worker, reason))

    def take(self) -> list[tuple[str, ...]]:
        """Return the calls since the last time."""
        did, self.did = self.did, []
        return did


class FakeBotContext:
    """The state, event bus and platform of one bot. Wall clock and monotonic clock are the same."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.events: list[Event] = []
        self.troubles: list[str] = []
        self.bus = EventBus("fox", lambda: self.clock.now, self.troubles.append)
        self.bus.subscribe(self.events.append)
        self.doing: ProcessActivity | None = ProcessActivity("S")
        """The activity of every process."""
        self.platform = Platform(
            lambda: self.clock.now,
            lambda: self.clock.now,
            self.clock,
            _no_spawn,
            _no_adopt,
            lambda pid: self.doing,
        )
        self.state = BotState(self.bus, self.platform)
        self.registry = self.state.registry


def _no_spawn(launch: Launch, on_exit: Callable[[int], None]) -> Child:
    raise SpawnError("nothing is started here")


def _no_adopt(pid: int, started: int, on_exit: Callable[[None], None]) -> Child:
    raise ProcessLookupError(pid)


def hello(*, interval: int = 0) -> Hello:
    return Hello("fox", "new", 4711, 1, PROTOCOL, "r2", Schema(1, ""), interval, (), "3.11", "1")


def report(role: str, *, loaded: bool = False, epoch: int = 1, late: int = 0, paused: bool = False) -> Report:
    return Report(role, epoch, loaded, "", 0, 10, 10, paused, late_max=late)  # pyright: ignore[reportArgumentType]
