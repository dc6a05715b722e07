"""Watches the branches that deploy, and reports commits that were pushed and do not run.

A branch is itself the record of what was pushed. It survives a hook that was killed before it could ask for a
deployment, a push while deployments were locked, and a push while no supervisor ran. So nothing else is recorded. The
watch compares the branches whose hooks deploy to this home with the release that leads.

An undeployed commit is reported, not deployed: it may have been rolled back, or moved there by hand. One command
deploys it. Files are checked every second; git runs only when one has changed or something was deployed. The status
shows the result, and a push that stays undeployed is logged once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from shlex import quote
from typing import Any

import msgspec

from ...protocol.commands import Deploy
from ...protocol.errors import NeverblinkError
from ...protocol.events import DeploymentEnded, DeploymentStarted, Event, LeaderChanged
from ...protocol.status import BranchSeen
from ..bot.bot_state import BotState
from ..release import git
from ..release.git_hooks import settings
from ..release.hooked_repositories import repositories
from ..release.releases import ReleaseStore
from ..store.history_thread import HistoryThread
from ..store.state_dir import Home
from ..system.format import count
from ..system.poll_loop import PollLoop
from ..system.text import clean

__all__ = ["BranchWatch", "describe_undeployed", "look", "traces"]

_EVERY_S = 1.0
_SHOWN = 8
_PATIENCE_S = 2.0
"""How long a hook may take to request its deployment."""


class BranchWatch:
    """Watches the branches of `home`, and logs commits that stay undeployed with `say`."""

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
        self._requested: list[str] = []
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
        """The branches as last read."""
        return tuple(
            msgspec.structs.replace(branch, asked=branch.commit in self._requested) for branch in self._found
        )

    @contextlib.contextmanager
    def requested(self, command: Deploy) -> Generator[None]:
        """Within this context, a deployment of the command's commit has been requested."""
        self._requested.append(command.commit)
        try:
            yield
        finally:
            self._requested.remove(command.commit)

    def note(self, event: Event) -> None:
        """Handle an event at once: its effect on a branch needs no git."""
        match event:
            case DeploymentStarted(dry_run=False, commit=commit) if commit:
                self._change(lambda branch: branch.commit == commit, deployment=event.deployment, outcome="")
            case DeploymentEnded(deployment=number):
                self._change(lambda branch: branch.deployment == number, outcome=event.outcome)
                if event.outcome == "done":
                    self._found = [
                        _leads(branch) if branch.deployment == number else branch for branch in self._found
                    ]
            case LeaderChanged():
                pass
            case _:
                return
        self._looked_at = None
        self._poll_loop.call()

    def _change(self, which: Callable[[BranchSeen], bool], **to: Any) -> None:
        self._found = [
            msgspec.structs.replace(branch, **to) if which(branch) else branch for branch in self._found
        ]

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
        # Most homes have no repositories, and then no thread is needed.
        there = self._home.repositories.exists()
        places = await asyncio.to_thread(repositories, self._home) if there else []
        leader = self._state.leading
        release = leader.release if leader is not None else ""
        key = (release, [(place, await asyncio.to_thread(traces, place)) for place in places])
        if key == self._looked_at:
            return
        # Changes made meanwhile are read in the next round.
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
        texts = [
            text for branch in self.seen if (text := describe_undeployed(branch)) and not branch.deployment
        ]
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


def _leads(branch: BranchSeen) -> BranchSeen:
    return msgspec.structs.replace(branch, running=branch.commit, ahead=0, behind=0)


def look(where: Path, running: str) -> BranchSeen | None:
    """The branch that deploys from the repository `where`, compared with the commit that runs; None if none deploys.

    The result has no deployment yet. Raises `GitError` and `HookError`.
    """
    deploys = settings(where)
    if deploys is None:
        return None
    try:
        newest = git.ask_bytes(
            where,
            "log",
            "-1",
            "--no-show-signature",
            "--encoding=UTF-8",
            "--format=%H%x00%s",
            f"refs/heads/{deploys.branch}",
            "--",
        )
    except git.GitError:
        return BranchSeen(clean(str(where)), deploys.branch, "", running=running)
    commit, subject = (git.shortened(clean(part)) for part in newest.split(b"\0", 1))
    ahead = behind = None
    if running:
        with contextlib.suppress(git.GitError):
            # The running commit may come from another repository; then they can't be compared.
            sides = git.ask(where, "rev-list", "--count", "--left-right", f"{commit}...{running}", "--")
            ahead, behind = map(int, sides.split())
    return BranchSeen(clean(str(where)), deploys.branch, commit, subject, running, ahead, behind)


def describe_undeployed(seen: BranchSeen) -> str:
    """A line on a branch whose commit does not run, with the command that deploys it; "" for nothing to report."""
    on_its_way = seen.asked or bool(seen.deployment and not seen.outcome)
    if not seen.commit or seen.commit == seen.running or on_its_way:
        return ""
    if not seen.running and seen.deployment:
        # A directory was deployed after it, which was intended.
        return ""
    if seen.ahead and seen.behind:
        how = f"and the running commit have diverged: {seen.ahead} and {count(seen.behind, 'commit')}"
    elif seen.ahead:
        how = f"is {count(seen.ahead, 'commit')} ahead of the running commit"
    elif seen.behind:
        how = f"is {count(seen.behind, 'commit')} behind the running commit"
    else:
        how = "is not the running commit"
    what = f"{seen.branch} of {seen.repository} {how} ({seen.commit[:_SHOWN]} {seen.subject})"
    if not seen.deployment:
        return f"{what}: deploy it with `neverblink hook deploy {quote(str(seen.repository))}`"
    ended = {"rolled_back": "was rolled back", "aborted": "was aborted"}.get(
        seen.outcome, "deployed it earlier"
    )
    return f"{what}: deployment {seen.deployment} {ended}"


def traces(repository: Path) -> tuple[tuple[int, ...], ...]:
    """A fingerprint of the repository's branches and settings: the state of a few files, read without git."""
    branches = repository / "refs" / "heads"
    places = [repository / "config", repository / "packed-refs", repository / "reftable" / "tables.list"]
    places += [Path(directory, name) for directory, _, files in os.walk(branches) for name in files]
    found: list[tuple[int, ...]] = []
    for place in places:
        with contextlib.suppress(OSError):
            there = place.stat()
            found.append((there.st_ino, there.st_mtime_ns, there.st_size))
    return tuple(found)
