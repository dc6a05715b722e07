"""The run: a small market, a live bot, and seven deployments that try to break it.

Everything is done as an operator would do it, by running `neverblink` as a process of its own. At the end the exchange,
which does not know neverblink, gives its verdict, and so does the audit.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from ...protocol.commands import Status
from ...protocol.errors import NeverblinkError
from ...protocol.events import (
    DeploymentStarted,
    Event,
    Heartbeat,
    LeaderChanged,
    StepDone,
    WorkerStarted,
)
from ..api.client import Client
from ..store.state_dir import Home
from .acts import ACTS, Act, Played
from .finding import DemoFinding, Evidence, find
from .picture import DemoPicture
from .strip import VersionStrip
from .world import (
    CommandOutput,
    DemoFailed,
    DemoWorld,
    RunningCommand,
)

__all__ = ["SECONDS", "DemoEvents", "run"]

SECONDS = 40.0
"""The minimum time that the bot trades."""

_UP_WITHIN = 30.0
_VERB_WITHIN = 60.0
_QUIET_WITHIN = 15.0
_FRAME = 0.1


def run(picture: DemoPicture, seconds: float, environment: Mapping[str, str]) -> DemoFinding:
    """Play every act, show it on `picture`, and return the finding. Leaves nothing behind, even when interrupted.

    Raises `DemoFailed` when the acts cannot be played.
    """
    began = time.monotonic()
    with _ended_in_order(), DemoWorld(dict(environment)) as world:
        try:
            return _Run(world, picture, began).all(seconds)
        finally:
            picture.close()


class _Run:
    def __init__(self, world: DemoWorld, picture: DemoPicture, began: float) -> None:
        self._world = world
        self._picture = picture
        self._began = began
        self._versions: dict[str, str] = {}
        """The version of each release, by its id."""
        self._releases: dict[str, str] = {}
        """The release of each worker."""
        self._deploying = ""
        self._refused: list[str] = []
        self._strip: VersionStrip | None = None
        self._watch: DemoEvents | None = None

    def all(self, seconds: float) -> DemoFinding:
        self._picture.say("starting the exchange and the bot")
        self._world.begin()
        up = self._world.verb("up")
        self._watch = self._meet(up)
        try:
            return self._play(up, seconds)
        finally:
            self._watch.close()

    def _play(self, up: RunningCommand, seconds: float) -> DemoFinding:
        self._world.ask("/session/start", post=True)
        until = time.monotonic() + seconds
        played = [self._act(act, up) for act in ACTS]
        self._picture.say("trading on")
        self._until(lambda: time.monotonic() >= until or not up.running, seconds)
        self._world.ask("/session/end", post=True)
        self._picture.say("the session is over: pausing the bot and waiting for its exits")
        self._do("pause")
        self._until(self._is_quiet, _QUIET_WITHIN)
        book: dict[str, Any] = self._do("send", "book").result.get("value") or {}
        ledger, verdict = self._world.ask("/fills?account=demo"), self._world.ask("/verdict")
        self._picture.say("stopping the bot and auditing its journal")
        self._do("down")
        self._until(lambda: not up.running, _VERB_WITHIN)
        audit = self._until_ended(self._world.verb("audit"))
        took = time.monotonic() - self._began
        return find(Evidence(played, verdict, ledger, book, audit.result, audit.exit, took, self._refused))

    def _meet(self, up: RunningCommand) -> DemoEvents:
        """Wait until the bot ticks; return a watch on it."""
        deadline = time.monotonic() + _UP_WITHIN
        watch: DemoEvents | None = None
        while time.monotonic() < deadline and up.running:
            with suppress(NeverblinkError):
                watch = watch or DemoEvents(self._world.home)
                status = watch.status()
                if status.get("state") == "running" and status.get("ticks"):
                    self._begin(status)
                    return watch
            self._picture.draw()
            time.sleep(_FRAME)
        if watch is not None:
            watch.close()
        problem = f"it did not tick within {_UP_WITHIN:g} s" if up.running else up.output().stderr
        raise DemoFailed(f"the bot could not be started: {problem}")

    def _begin(self, status: dict[str, Any]) -> None:
        self._versions[status["release"]] = "v1"
        self._strip = VersionStrip(status["interval"])
        self._strip.leads(status["worker"], "v1", status["seq"] - status["ticks"] + 1)
        for worker in status["workers"]:
            self._world.note_worker(worker["pid"])
            self._releases[worker["worker"]] = worker["release"]
        self._picture.begin(self._strip)

    def _act(self, act: Act, up: RunningCommand) -> Played:
        self._picture.play(act)
        self._deploying = "" if act.back else act.version
        if act.back:
            verb = self._world.verb("rollback", "-m", act.title)
        else:
            verb = self._world.verb("deploy", str(self._world.release(act.version)), "-m", act.title)
        output = self._until_ended(verb)
        release = str(output.result.get("release") or "")
        played = Played(act, output.exit, output.result, self._versions.get(release, release))
        self._picture.ended(played)
        if not up.running:
            raise DemoFailed(
                f"the supervisor ended during the demo: {up.output().stderr or 'it printed nothing'}"
            )
        return played

    def _do(self, name: str, *arguments: str) -> CommandOutput:
        output = self._until_ended(self._world.verb(name, *arguments))
        if output.exit:
            self._refused.append(f"{name}: exit {output.exit}: {output.stderr}")
        return output

    def _until_ended(self, verb: RunningCommand) -> CommandOutput:
        if not self._until(lambda: not verb.running, _VERB_WITHIN):
            raise DemoFailed(f"{verb.name} has not ended within {_VERB_WITHIN:g} s")
        return verb.output()

    def _until(self, done: Callable[[], bool], within: float) -> bool:
        """Show what happens until `done()`; return False after this many seconds."""
        assert self._watch is not None
        deadline = time.monotonic() + within
        while not done():
            if time.monotonic() >= deadline:
                return False
            frame_ends = time.monotonic() + _FRAME
            while (left := frame_ends - time.monotonic()) > 0:
                event = self._watch.next(left)
                if event is not None:
                    self._take(event)
            self._picture.draw()
        return True

    def _is_quiet(self) -> bool:
        verdict = self._world.ask("/verdict")
        return not verdict["open"] and not verdict["unfilled"]

    def _take(self, event: Event) -> None:
        assert self._strip is not None
        match event:
            case WorkerStarted():
                self._world.note_worker(event.pid)
                self._releases[event.worker] = event.release
            case DeploymentStarted() if self._deploying:
                self._versions[event.release] = self._deploying
            case LeaderChanged() if event.worker and event.cause != "first":
                self._strip.leads(event.worker, self._version(event.worker), event.seq)
            case StepDone(step="handed", facts={"worker": str(worker), "seq": int(seq)}):
                self._strip.leads(worker, self._version(worker), seq)
            case Heartbeat(role="leading"):
                self._strip.reached(event.seq)
            case _:
                pass
        self._picture.take(event)

    def _version(self, worker: str) -> str:
        release = self._releases.get(worker, "")
        return self._versions.get(release, release)


@contextmanager
def _ended_in_order() -> Generator[None]:
    """Make SIGTERM and SIGHUP end the demo as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class DemoEvents:
    """Subscribe to the supervisor of `home`. Raises `NeverblinkError` while it does not run."""

    def __init__(self, home: Path) -> None:
        self._client = Client(Home(home), "demo")
        try:
            self._events = self._client.events()
        except NeverblinkError:
            self._client.close()
            raise

    def next(self, within: float) -> Event | None:
        """The next event, None after this many seconds without one."""
        return self._events.next(within)

    def status(self) -> dict[str, Any]:
        return self._client.ask(Status())

    def close(self) -> None:
        self._events.close()
        self._client.close()

    def __enter__(self) -> DemoEvents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
