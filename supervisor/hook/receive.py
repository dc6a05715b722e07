"""What runs in a push: pre-receive may refuse it, post-receive deploys it.

Behind a gate a push is built, checked and rehearsed while its objects are still in quarantine, and only then does the
ref move; then the release that was found good is handed over to. Without one the ref has moved already, and git
gives no way to fail a push any more: a failure is shown in a large frame.

Of several pushes at once each deploys what the branch is *then*: the repository is locked from looking at the branch
until the supervisor has the request, so a push that is slow can't bring back what a later one has replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from shlex import quote
from typing import TextIO

import msgspec

from ...protocol.commands import Deploy, Releases
from ...protocol.errors import NeverblinkError
from ..api.client import Client, CommandFault, who_asks
from ..release.git import ask
from ..release.git_hooks import HookError, HookSettings, settings
from ..store.state_dir import Home
from ..system.ownership import act_as_owner_of, give_to_owner
from .bot_state import bot_state
from .deployment_output import show_result
from .problems import of_home
from .push_output import PushOutput
from .push_request import PushRequest
from .pushed_refs import PushOptions, Update, passed_over, updates, wishes

__all__ = ["receive"]

_LOCK_WITHIN = 10.0
_GATE = "pre-receive"


def receive(name: str, lines: bytes, repository: Path, environment: Mapping[str, str], out: TextIO) -> int:
    """Do what the hook `name` is there for; return its exit code.

    `lines` are git's, a ref each; `environment` is the one git gave; `out` leads to the person who pushes.
    """
    output = PushOutput(out)
    gate = name == _GATE
    home: Path | None = None
    try:
        told = settings(repository)
        if told is None:
            raise HookError(
                repository, f"has lost its settings: run `neverblink hook install {repository}` again"
            )
        home = told.home
        # What root has pushed would be root's, and the user of the bot could neither read nor push after that.
        give_to_owner(repository)
        act_as_owner_of(told.home)
        asked = wishes(environment)
        pushed = updates(lines)
        return _Push(repository, told, asked, environment, output).run(pushed, gate=gate)
    except CommandFault as refused:
        # A later push is deployed in the place of this one: there is nothing to do again.
        again = None if "commit" in refused.fault.facts else repository
        return _fail(output, gate, home, refused.message, again)
    except NeverblinkError as problem:
        return _fail(output, gate, home, problem.message, repository)
    except Exception as problem:
        # A bug of ours: the pusher can't mend it, but has to know what it means for the bot.
        return _fail(output, gate, home, f"unexpected {type(problem).__name__}: {problem}", repository)


class _Push:
    def __init__(
        self,
        repository: Path,
        told: HookSettings,
        asked: PushOptions,
        environment: Mapping[str, str],
        output: PushOutput,
    ) -> None:
        self._repository = repository
        self._told = told
        self._asked = asked
        self._environment = environment
        self._output = output

    def run(self, pushed: list[Update], *, gate: bool) -> int:
        branch = self._told.branch
        ours = [update for update in pushed if update.is_branch(branch) and not update.deletes]
        if not gate:
            for update in pushed:
                if update not in ours:
                    self._output.detail(passed_over(update, branch))
        if not ours:
            return 0
        if gate and self._asked.unknown:
            raise NeverblinkError("; ".join(self._asked.unknown))
        if not self._told.gate or gate:
            for unknown in self._asked.unknown:
                self._output.warn(unknown)
        for problem in of_home(self._told):
            raise NeverblinkError(problem)
        with Client(Home(self._told.home), self._who()) as client, client.events() as events:
            request = PushRequest(client, events, self._output)
            return self._rehearse(request, ours[0]) if gate else self._deploy(request, client, ours[0])

    def _rehearse(self, request: PushRequest, update: Update) -> int:
        quarantine = self._environment.get("GIT_QUARANTINE_PATH", "")
        objects = os.path.abspath(quarantine) if quarantine else ""
        request.begin(self._command(update.new, dry_run=True, objects=objects), update.new)
        ended = request.follow(request.number())
        return 0 if show_result(self._output, ended, self._told.branch, self._repository, gate=True) else 1

    def _deploy(self, request: PushRequest, client: Client, update: Update) -> int:
        with _locked(self._repository):
            now = ask(self._repository, "rev-parse", "--verify", "--quiet", update.ref)
            if now != update.new:
                self._output.step(f"{self._told.branch} has moved on to {now[:8]}, and that push deploys it")
                return 0
            request.begin(self._handed_over(client, self._command(update.new)), update.new)
        number = request.number()
        if not self._asked.wait:
            self._output.verdict(f"deployment {number} goes on by itself: see `neverblink history {number}`")
            return 0
        ended = request.follow(number)
        return 0 if show_result(self._output, ended, self._told.branch, self._repository, gate=False) else 1

    def _handed_over(self, client: Client, command: Deploy) -> Deploy:
        """The command, for the very release that the gate has found good, where there was one."""
        if not self._told.gate:
            return command
        made: list[dict[str, str]] = client.ask(Releases())["releases"]
        of_commit = [one["id"] for one in made if one.get("commit") == command.commit]
        if not of_commit:
            return command
        return msgspec.structs.replace(command, release=of_commit[0], repository="", commit="")

    def _command(self, commit: str, *, dry_run: bool = False, objects: str = "") -> Deploy:
        return Deploy(
            repository=str(self._repository),
            commit=commit,
            ref=self._told.branch,
            objects=objects,
            why=self._asked.why,
            force=self._asked.force,
            replace=self._asked.replace,
            change_bot=self._asked.change_bot,
            queue=not self._asked.replace,
            dry_run=dry_run,
        )

    def _who(self) -> str:
        """Who pushed, by what an access layer (gitolite, a web server) says, or the account."""
        return self._environment.get("GL_USER") or self._environment.get("REMOTE_USER") or who_asks()


def _fail(output: PushOutput, gate: bool, home: Path | None, problem: str, again: Path | None) -> int:
    """Say that nothing came of it. git calls no hook for a commit that has arrived, so `again` needs a command."""
    if gate:
        output.banner(f"REFUSED: nothing was changed, and {bot_state(home)}", f"error: {problem}")
    else:
        mend = (
            ()
            if again is None
            else (f"  Then, on the machine of the bot: neverblink hook deploy {quote(str(again))}",)
        )
        output.banner(
            f"NOT DEPLOYED: the push arrived, but {bot_state(home)}",
            f"error: {problem}",
            *mend,
        )
    return 1


@contextlib.contextmanager
def _locked(repository: Path) -> Generator[None]:
    """Hold the repository against other pushes. The lock dies with its process, and leaves nothing behind."""
    directory = os.open(repository, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    until = time.monotonic() + _LOCK_WITHIN
    try:
        while True:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    break
                time.sleep(0.02)
        yield
    finally:
        os.close(directory)
