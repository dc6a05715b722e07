"""Adoption: a new supervisor takes over workers that are alive, because the one before it was killed or has left.

Adoption starts and ends no worker. The workers, known by pid *and* start time from the history, and the holder of the
lease, are watched from now on; they connect to the new socket by themselves and report their state. Which of them leads
is decided by their reports and the kernel, never by the records of the previous supervisor. After that, a deployment in
progress is resumed, and workers that are not needed are asked to leave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...protocol.errors import NeverblinkError
from ...protocol.events import WorkerAdopted
from ...protocol.lease import Holder
from ...protocol.link import Report
from ..bot.bot import LiveBot
from ..config.config import Config
from ..store import living_workers
from ..store.history_rows import WorkerRow
from ..store.history_thread import HistoryThread
from ..store.living_workers import HomeInUse, Survivor
from ..store.state_dir import Home
from ..workers.registry import Ended, Member
from .deployments import Deployments

__all__ = ["Adoption"]

_ANSWER_WITHIN = 2_000_000_000
"""How long the workers have to report their state. A worker whose handler blocks can't."""


class Adoption:
    """Finds workers of the bot of `config` and adopts them: call `look`, `begin` and `complete`, in this order."""

    def __init__(
        self,
        home: Home,
        config: Config,
        bot: LiveBot,
        deployments: Deployments,
        history_thread: HistoryThread,
        say: Callable[[str], None],
    ) -> None:
        self._home = home
        self._config = config
        self._bot = bot
        self._deployments = deployments
        self._history_thread = history_thread
        self._say = say
        self._members: list[Member] = []
        self._leads = ""
        self._last: Holder | None = None
        self._noted = False
        """The history has the last leader already."""

    @property
    def alive(self) -> set[str]:
        """The workers that were found alive."""
        return {member.worker for member in self._members}

    async def look(self, known: Iterable[WorkerRow], *, fresh: bool, chosen: bool = False) -> None:
        """Find the workers that are alive, of those `known`, which have no recorded end. Raises `HomeInUse`."""
        home, name = self._home, self._config.name
        found = living_workers.survivors(home, known)
        bots = await self._history_thread.ask(lambda history: history.bots())
        if found and bots and name not in bots:
            raise HomeInUse(
                home.path,
                found,
                f"They run bot {bots[0]}, and this configuration is that of {name}: use another home",
            )
        if found and fresh:
            raise HomeInUse(
                home.path,
                found,
                "`up --fresh` would set their state aside. `neverblink up` without --fresh goes on with them; only "
                "`neverblink down`, which stops the bot for good and runs its on_stop, makes way for a fresh start",
            )
        if found and chosen:
            raise HomeInUse(
                home.path,
                found,
                "The bot is alive, so `up` adopts it as it runs: run `neverblink up`, and then `neverblink "
                "deploy` for other code",
            )
        self._members = [_member(survivor) for survivor in found]
        self._leads = next((survivor.worker for survivor in found if survivor.leads), "")
        self._last = last = living_workers.last_leader(home)
        noted = await self._history_thread.ask(lambda history: history.leaders(1))
        if last is not None and noted:
            self._noted = (noted[0].worker, noted[0].epoch) == (last.holder, last.epoch)

    def begin(self) -> None:
        """Watch the workers found. Call it before any can connect: an unknown worker is rejected, and leaves."""
        bot, last = self._bot, self._last
        for member in self._members:
            if not bot.pool.adopt(member):
                # It is not in the registry, so nothing waits for it.
                member.ended = Ended(None, "it ended while no supervisor ran", bot.bus.now())
        if last is not None:
            # Don't publish again what the history has already.
            bot.leadership.recall(last.holder, last.epoch if self._noted else last.epoch - 1)

    async def complete(self) -> bool:
        """Wait for the workers' reports and resume; return whether the bot continues with them. If not, all have ended.

        Raises `HomeInUse` when a worker of another bot has the lease.
        """
        bot, deployments = self._bot, self._deployments
        for member in self._members:
            bot.bus.tell(
                WorkerAdopted(
                    worker=member.worker,
                    release=member.release,
                    pid=member.pid,
                    leads=member.worker == self._leads,
                )
            )
        await bot.state.changes.until(
            lambda: bot.state.stopping or all(map(_has_answered, self._members)), _ANSWER_WITHIN
        )
        self._note_lease_holder()
        self._refuse_unknown()
        await self._find_releases()
        if bot.state.stopping:
            return True
        await deployments.take_up(self._config)
        self._dismiss_the_rest()
        # A follower outside of a deployment never leads, so this ends: with a leader, or without a worker.
        await bot.state.changes.until(
            lambda: (
                bot.state.stopping or bot.state.drivers or bot.state.leading or not bot.state.registry.alive()
            )
        )
        leading = bot.state.leading
        if leading is None and not bot.state.drivers:
            return bool(bot.state.stopping)
        if leading is not None:
            self._say(
                f"adopted the bot: worker {leading.worker} (pid {leading.pid}) leads on release {leading.release}"
            )
            if not bot.state.drivers:
                deployments.retention.promote(leading.release)
        bot.adopted()
        return True

    def _note_lease_holder(self) -> None:
        """The holder of the lease leads, even when it is busy or stopped and reports nothing."""
        holder = living_workers.holder_of(self._home.lease)
        for member in self._members:
            if holder is not None and member.report is None and member.pid == holder.pid:
                member.report = Report("leading", holder.epoch, True, member.worker, 0, 0, 0, False)

    def _refuse_unknown(self) -> None:
        for member in self._members:
            if member.alive and not member.release:
                self._bot.pool.forget(member.worker)
                raise HomeInUse(
                    self._home.path,
                    [Survivor(member.worker, member.pid, member.started, True, member.log)],
                    "It has the lease, and this home's history does not know it: the history was removed, or is older. "
                    f"If it runs bot {self._config.name}, its state is in the journal, and `neverblink up --rescue` "
                    "ends it as a crash would, without on_stop, and goes on from its last tick; else use another home",
                )

    async def _find_releases(self) -> None:
        """Find the release of each worker, so that it can be started again."""
        bot = self._bot
        for release in {member.release for member in bot.state.registry.alive()}:
            try:
                bot.state.add_run(*await self._deployments.runs.of(release))
            except NeverblinkError as problem:
                bot.bus.trouble(f"release {release} runs, and could not be started again: {problem.message}")

    def _dismiss_the_rest(self) -> None:
        bot = self._bot
        needed = {bot.state.leader}
        for driver in bot.state.drivers:
            needed |= {driver.handoff.old, driver.handoff.new}
        leads = bot.state.leading.release if bot.state.leading is not None else ""
        for member in bot.state.registry.alive():
            if member.worker in needed:
                continue
            # `Standby` decides whether to keep it: a worker that guards the leader leads when the leader is dead.
            guards = member.role == "following" and member.report is not None and member.report.guard
            if guards or (leads and member.release == leads and member.role in ("joining", "following")):
                bot.standby.adopt(member)
            else:
                bot.pool.dismiss(member.worker, "an earlier supervisor left it behind")


def _member(survivor: Survivor) -> Member:
    member = Member(survivor.worker, survivor.release, survivor.log, survivor.since)
    member.pid, member.started = survivor.pid, survivor.started
    return member


def _has_answered(member: Member) -> bool:
    return not member.alive or (member.hello is not None and member.report is not None)
