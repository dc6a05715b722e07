"""All feeds of the bot: which there have to be, and on which release.

The workers that are alive decide it: a feed lives as long as the release of one of them names it, and is run as the
release says that leads. So a deployment starts its new feeds with its worker, before the rehearsal, and a feed that it
removes ends when the old worker has ended. A feed that runs stays on the release that it was started from: it is
restarted on request, and when the release that leads runs it with another table in the configuration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from ...protocol.events import (
    DeploymentEnded,
    Event,
    LeaderChanged,
    WorkerAdopted,
    WorkerExited,
    WorkerStarted,
)
from ...protocol.feed_wire import FeedReport, feed_socket
from ...protocol.status import FeedStatus
from ..bot.bot_state import BotState
from ..system.errors import Refusal
from .feed_runner import FeedRunner
from .launcher import FeedFailed, FeedLauncher, FeedPlan, LivingFeed

__all__ = ["BotFeeds"]

_LOOK_EVERY = 0.25


class BotFeeds:
    """The feeds of the bot `state`. `key_of(feed)` is a feed's key, `path_of(name)` the path of a socket."""

    def __init__(
        self,
        state: BotState,
        launcher: FeedLauncher,
        key_of: Callable[[str], bytes],
        path_of: Callable[[str], str],
        end_group: Callable[[str, int, int], None],
    ) -> None:
        self._state = state
        self._launcher = launcher
        self._key_of = key_of
        self._path_of = path_of
        self._end_group = end_group
        self._runners: dict[str, FeedRunner] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._closing = False
        self._planned = False

    def begin(self, living: list[LivingFeed]) -> None:
        """Go on with the feeds that are alive, and watch the bot from now on."""
        for feed in living:
            runner = self._runner(feed.name)
            try:
                runner.adopt(feed)
            except ProcessLookupError:
                del self._runners[feed.name]
        self._looking = asyncio.get_running_loop().create_task(self._look())

    def note(self, event: Event) -> None:
        """Handle an event: workers come and go."""
        if isinstance(event, WorkerStarted | WorkerAdopted | WorkerExited | LeaderChanged | DeploymentEnded):
            self._reconcile_soon()

    def status(self) -> tuple[FeedStatus, ...]:
        leading = self._state.leading
        report = leading.report if leading is not None else None
        applied = {feed.feed: (feed.run, feed.n) for feed in report.feeds} if report is not None else {}
        return tuple(runner.status(applied.get(name)) for name, runner in sorted(self._runners.items()))

    async def restart(self, name: str) -> FeedReport | None:
        """Restart a feed on the release that leads. Raises `Refusal`."""
        plan = self._plans().get(name)
        runner = self._runners.get(name)
        if plan is None or runner is None:
            known = ", ".join(sorted(self._runners)) or "it has none"
            raise Refusal("not-found", f'there is no feed "{name}": {known}')
        try:
            return await runner.restart(plan)
        except FeedFailed as problem:
            raise Refusal("failed", f"not restarted: {problem.message}") from None

    async def stop(self) -> None:
        """End all of them, after the bot."""
        self._closing = True
        await asyncio.gather(*(runner.end() for runner in self._runners.values()))

    def close(self) -> None:
        """Stop watching them. Those that are alive run on."""
        self._closing = True
        if self._looking is not None:
            self._looking.cancel()
        for task in self._tasks:
            task.cancel()
        for runner in self._runners.values():
            runner.let_go()

    # parts

    def _runner(self, name: str) -> FeedRunner:
        runner = self._runners.get(name)
        if runner is None:
            runner = self._runners[name] = FeedRunner(
                name,
                self._key_of(name),
                lambda: self._path_of(feed_socket(name)),
                self._launcher,
                self._state.bus,
                self._end_group,
                self._note_processes,
            )
        return runner

    def _note_processes(self) -> None:
        self._state.feed_processes = {
            runner.release: runner.pid for runner in self._runners.values() if runner.running
        }

    def _plans(self) -> dict[str, FeedPlan]:
        """How each feed is to be run, according to the workers that are alive; the release that leads comes first."""
        state = self._state
        leader = state.leading.release if state.leading is not None else ""
        releases = [leader] if leader else []
        releases += [member.release for member in reversed(state.registry.alive())]
        plans: dict[str, FeedPlan] = {}
        for id in releases:
            run = state.runs.get(id)
            if run is not None:
                for settings in run[1].feeds:
                    plans.setdefault(settings.name, FeedPlan(settings, *run))
        return plans

    def _reconcile_soon(self) -> None:
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._reconcile)

    def _reconcile(self) -> None:
        self._planned = False
        state = self._state
        alive = state.registry.alive()
        if self._closing or state.stopping or not alive:
            # Without a worker nothing says that a feed is no longer needed.
            return
        plans = self._plans()
        leader = state.leading.release if state.leading is not None else ""
        for name, plan in plans.items():
            runner = self._runner(name)
            runner.plan = plan
            if not runner.running:
                if not runner.error:
                    runner.start()
            elif plan.release.id == leader and runner.digest and runner.digest != plan.settings.digest:
                runner.digest = plan.settings.digest
                self._spawn(self._replace(runner, plan))
        if all(member.release in state.runs for member in alive):
            for name in self._runners.keys() - plans.keys():
                self._spawn(self._remove(name))

    async def _replace(self, runner: FeedRunner, plan: FeedPlan) -> None:
        try:
            await runner.restart(plan)
        except FeedFailed as problem:
            self._state.bus.trouble(problem.message)

    async def _remove(self, name: str) -> None:
        runner = self._runners.pop(name, None)
        if runner is not None:
            await runner.end()
            self._note_processes()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            # What a worker that was found alive runs is known only some time after it was found.
            self._reconcile()
            for name, runner in list(self._runners.items()):
                runner.look(self._stale_after(name))

    def _stale_after(self, name: str) -> int:
        runner = self._runners[name]
        return runner.plan.settings.stale_after if runner.plan is not None else 0
