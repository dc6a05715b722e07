"""Watches the branches that deploy, so that a push that was not deployed is noticed.

Files are checked every second; git runs only when one has changed or something was deployed. The status shows what was
found, and a push that stays undeployed is logged once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Generator
from typing import Any

import msgspec

from ...protocol.commands import Deploy
from ...protocol.errors import NeverblinkError
from ...protocol.events import DeploymentEnded, DeploymentStarted, Event, LeaderChanged
from ...protocol.status import BranchSeen
from ..bot.bot_state import BotState
from ..release.hooked_repositories import repositories
from ..release.releases import ReleaseStore
from ..store.history_thread import HistoryThread
from ..store.state_dir import Home
from ..system.poll_loop import PollLoop
from .pushed_branches import look, told, traces

__all__ = ["BranchWatch"]

_EVERY_S = 1.0
_PATIENCE_S = 2.0
"""The time a hook has to ask for its deployment."""


class BranchWatch:
    """Watches the branches of `home`, and logs with `say` what stays undeployed."""

    def __init__(
        self,
        home: Home,
        releases: ReleaseStore,
        history_thread: HistoryThread,
        state: BotState,
        say: Callable[[str], None],
    ) -> None:
        self._home = home
        self._releases = releases
        self._history_thread = history_thread
        self._state = state
        self._say = say
        self._found: list[BranchSeen] = []
        self._looked_at: object = None
        self._asked: list[str] = []
        self._since: dict[str, float] = {}
        self._poll_loop = PollLoop()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    @property
    def seen(self) -> tuple[BranchSeen, ...]:
        """The branches, as last seen."""
        return tuple(msgspec.structs.replace(one, asked=one.commit in self._asked) for one in self._found)

    @contextlib.contextmanager
    def asked(self, command: Deploy) -> Generator[None]:
        """While entered, the commit that the command names is on its way to a deployment."""
        self._asked.append(command.commit)
        try:
            yield
        finally:
            self._asked.remove(command.commit)

    def note(self, event: Event) -> None:
        """Take in an event at once: what it says of a branch needs no git."""
        match event:
            case DeploymentStarted(dry_run=False, commit=commit) if commit:
                self._change(lambda one: one.commit == commit, deployment=event.deployment, outcome="")
            case DeploymentEnded(deployment=number):
                self._change(lambda one: one.deployment == number, outcome=event.outcome)
                if event.outcome == "done":
                    self._found = [_leads(one) if one.deployment == number else one for one in self._found]
            case LeaderChanged():
                pass
            case _:
                return
        self._looked_at = None
        self._poll_loop.call()

    def _change(self, which: Callable[[BranchSeen], bool], **to: Any) -> None:
        self._found = [msgspec.structs.replace(one, **to) if which(one) else one for one in self._found]

    async def _run(self) -> None:
        trouble = ""
        while True:
            self._poll_loop.begin()
            before, trouble = trouble, ""
            try:
                await self._look()
            except (NeverblinkError, OSError) as problem:
                self._looked_at = None
                trouble = f"the branches that deploy can't be looked at: {problem}"
                if trouble != before:
                    self._say(trouble)
            self._tell(time.monotonic())
            await self._poll_loop.wait(_EVERY_S)

    async def _look(self) -> None:
        # Most homes have none, and then no thread is needed.
        there = self._home.repositories.exists()
        places = await asyncio.to_thread(repositories, self._home) if there else []
        leader = self._state.leading
        release = leader.release if leader is not None else ""
        key = (release, [(place, await asyncio.to_thread(traces, place)) for place in places])
        if key == self._looked_at:
            return
        # What changes meanwhile is looked at again.
        self._looked_at = key
        running = await asyncio.to_thread(self._commit_of, release)
        found: list[BranchSeen] = []
        for place in places:
            with contextlib.suppress(NeverblinkError):
                seen = await asyncio.to_thread(look, place, running)
                if seen is not None:
                    number, outcome = await self._last_of(seen.commit)
                    found.append(msgspec.structs.replace(seen, deployment=number, outcome=outcome))
        self._found = found

    def _tell(self, now: float) -> None:
        texts = [text for one in self.seen if (text := told(one)) and not one.deployment]
        self._since = {text: self._since.get(text, now) for text in texts}
        for text, since in self._since.items():
            if since <= now - _PATIENCE_S:
                self._say(text)
                self._since[text] = float("inf")

    async def _last_of(self, commit: str) -> tuple[int, str]:
        return await self._history_thread.ask(lambda history: history.last_of(commit))

    def _commit_of(self, release: str) -> str:
        try:
            return self._releases.get(release).commit if release else ""
        except NeverblinkError:
            return ""


def _leads(one: BranchSeen) -> BranchSeen:
    return msgspec.structs.replace(one, running=one.commit, ahead=0, behind=0)
