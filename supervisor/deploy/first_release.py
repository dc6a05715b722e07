"""The first release: what a bot is started with when no worker of it is alive.

A bot that has led before continues with the release that led last, not with the project's directory: code that was
rolled back and half-edited files are not started. A damaged release is repaired. If that fails, the release that led
before it is started instead, and that is logged. A new bot begins with the project's directory, or with the directory
or release that an operator names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.lease import Holder
from ..bot.bring_up import StartFailed
from ..config.config import Config, ConfigError, load
from ..release.releases import Release, ReleaseError
from ..release.repair import Repair
from ..store import living_workers
from ..store.history_db import HistoryDb
from ..store.history_rows import CommitNote
from ..store.state_dir import Home
from .deployments import Deployments
from .shutdown import Shutdown

__all__ = ["Chosen", "FirstRelease", "ScreenProgress"]

_LOOKED_BACK = 500
"""How many changes of the leader, and how many deployments, are read from the history."""


class Chosen(msgspec.Struct, frozen=True):
    """What an operator has named to begin with: a directory, or a kept release."""

    directory: Path | None = None
    release: str = ""
    drop: tuple[str, ...] = ()
    """The fields of the state whose values may be lost."""


class FirstRelease:
    """Chooses and prepares the release that the bot of `config` begins with, and starts the bot on it."""

    def __init__(
        self,
        config: Config,
        home: Home,
        deployments: Deployments,
        repair: Repair,
        shutdown: Shutdown,
        say: Callable[[str], None],
    ) -> None:
        self._config = config
        self._home = home
        self._deployments = deployments
        self._releases = deployments.releases
        self._preparer = deployments.preparer
        self._runs = deployments.runs
        self._history_thread = deployments.history_thread
        self._repair = repair
        self._shutdown = shutdown
        self._say = say

    async def start(self, chosen: Chosen | None) -> None:
        """Start the bot on `chosen`; else on the release that led last; else on the code in the project's directory.

        A bot that has led before is started again until it leads, since no operator may be there to see it fail. New
        code, and code that an operator has just named, is tried once. Raises `NeverblinkError`.
        """
        bot = self._deployments.bot
        led = "" if chosen is not None else await self._led_last()
        try:
            release, config = await (self.find(led) if led else self._make(chosen))
            if self._shutdown.stopping:
                return
            self._say(f"home {self._home.path}, release {release.id} of {release.origin}")
            if led:
                await self._describe(release)
                led = release.id
            # No operator has named the release that led last: the bot goes on, and reports what it has lost.
            await bot.start(release, config, chosen.drop if chosen is not None else (), recovers=bool(led))
        except NeverblinkError as problem:
            if self._shutdown.stopping:
                # An operator stopped the bot before it had begun, which is not a failure.
                return
            if not led:
                if self._releases.current() is None and isinstance(problem, StartFailed):
                    problem.message += "; this bot has never led, so it is not tried again"
                raise
            reason = problem.reason if isinstance(problem, StartFailed) else problem.message
            bot.keep_starting(led, reason)

    async def _led_last(self) -> str:
        """The id of the release that led last, "" when the bot has never led."""
        last = await asyncio.to_thread(living_workers.last_leader, self._home)
        led = await self._history_thread.ask(lambda history: _led(history, last))
        if led:
            withdrawn = await self._history_thread.ask(_withdrawn)
            return next((release for release in led if release not in withdrawn), led[0])
        # The history may be lost: use the link.
        current = self._releases.current()
        return current if current is not None and self._releases.has_led(current) else ""

    async def find(self, id: str) -> tuple[Release, Config]:
        """The release `id`, or the one that led before it if it is lost, with its configuration.

        Raises `NeverblinkError` when all are lost, or when the environment can't be made.
        """
        for candidate in await self._candidates(id):
            note = await self._history_thread.ask(
                lambda history, candidate=candidate: _note_of(history, candidate)
            )
            try:
                release = await asyncio.to_thread(self._repair.whole, candidate, self._config.module, note)
            except ReleaseError as lost:
                self._say(lost.message)
                continue
            if candidate != id:
                self._say(
                    f"release {id}, which led last, is lost: continuing with release {candidate}, which led before"
                )
            config = await self._runs.config_of(release)
            return release, await self._prepared(release, config)
        raise ReleaseError(
            self._releases.directory / id,
            "it led last and is lost, and so is each release before it: `neverblink deploy "
            f"{quote(str(self._config.directory))}` starts the code in the project's directory",
        )

    async def _make(self, chosen: Chosen | None) -> tuple[Release, Config]:
        """The named release, or one made of the project's directory, with its configuration.

        Raises `StartFailed`, `ConfigError`, and what `ReleaseStore.make` raises.
        """
        if chosen is not None and chosen.release:
            release = await asyncio.to_thread(self._releases.find, chosen.release)
            config = await self._runs.config_of(release)
        else:
            source = chosen.directory if chosen is not None and chosen.directory else self._config.directory
            bot = (await asyncio.to_thread(load, source)).module
            release = await asyncio.to_thread(self._releases.make, source, bot, warn=self._say)
            config = await asyncio.to_thread(load, release.path, source)
        if config.name != self._config.name:
            raise ConfigError(
                config.path, "name", f'is "{config.name}", and this home holds the bot "{self._config.name}"'
            )
        return release, await self._prepared(release, config)

    async def _describe(self, release: Release) -> None:
        """Log that the bot continues with `release`, and how to run the directory's code if it differs."""
        source = self._config.directory
        what = f"release {release.id}"
        if release.commit:
            what += f", {release.ref} {release.commit[:8]} ({release.subject})".replace(",  ", ", ")
        try:
            same = await asyncio.to_thread(self._releases.digest_of, source) == release.digest
        except ReleaseError:
            same = False
        self._say(f"continuing with {what}, which led last")
        if not same:
            place = quote(str(source))
            self._say(
                f"the code in {source} differs from it: `neverblink deploy {place}` hands over to that, and "
                f"`neverblink up --from {place}` starts with it"
            )

    async def _candidates(self, id: str) -> list[str]:
        led = await self._history_thread.ask(lambda history: _led(history, None))
        withdrawn = await self._history_thread.ask(_withdrawn)
        before = [
            release
            for release in (self._releases.previous(), *led)
            if release is not None and release not in withdrawn
        ]
        return list(dict.fromkeys([id, *before]))

    async def _prepared(self, release: Release, config: Config) -> Config:
        """The configuration to run the release with. Builds its environment if needed; does not run its check."""
        had = self._preparer.as_assigned(release.id, config)
        ready = await asyncio.to_thread(self._preparer.ready, release.id, release.path, config, check=False)
        if ready is not None:
            return ready
        damage = self._preparer.damage(release.id)
        self._say(f"building the environment{f' again: {damage}' if damage else ''}")
        try:
            progress = ScreenProgress(self._say)
            return await self._preparer.prepare(release.id, release.path, config, progress, check=False)
        except NeverblinkError as problem:
            if self._shutdown.stopping:
                return config
            if had is not config:
                self._say(f"{problem.message}; going on in the environment that release {release.id} had")
                return had
            raise StartFailed(self._config.name, problem.message, "") from None


def _led(history: HistoryDb, last: Holder | None) -> list[str]:
    """The releases that have led, latest first; `last` is the last holder of the lease."""
    leaders = [row for row in history.leaders(_LOOKED_BACK) if row.worker]
    found = [row.release for row in leaders]
    if last is not None and leaders and last.epoch > leaders[0].epoch:
        # It took the lease while no supervisor ran. If its deployment is recorded as aborted, the code before it leads.
        took = [row.release for row in history.workers(_LOOKED_BACK) if row.worker == last.holder]
        found[:0] = [row for row in took if _outcome_of(history, row) != "aborted"]
    return list(dict.fromkeys(found))


def _outcome_of(history: HistoryDb, release: str) -> str | None:
    """How the newest deployment of a release ended, None when there is none or it has not ended."""
    deployments = history.deployments(_LOOKED_BACK)
    return next((row.outcome for row in deployments if row.release == release and not row.dry_run), None)


def _withdrawn(history: HistoryDb) -> set[str]:
    """Releases that were rolled back and not deployed since. They are not started again."""
    found: set[str] = set()
    for row in reversed(history.deployments(_LOOKED_BACK)):
        if row.dry_run:
            continue
        if row.outcome == "rolled_back":
            found.add(row.release)
        elif row.outcome == "done":
            found.discard(row.release)
            if row.kind == "rollback":
                found.add(row.previous)
    return found


def _note_of(history: HistoryDb, release: str) -> CommitNote | None:
    """The history's record of the commit that a release was made of."""
    for row in history.deployments(_LOOKED_BACK):
        if row.release == release and row.commit:
            return CommitNote(row.commit, row.subject, row.author, row.ref)
    return None


class ScreenProgress:
    """Progress of a build, written to the screen."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def line(self, step: str, text: str) -> None:
        self._say(f"{step}: {text}")

    def step(self, step: str, text: str, took: int, facts: dict[str, Any]) -> None:
        self._say(f"{step}: {text}")
