"""What runs in a push: pre-receive may refuse it, post-receive deploys it.

With a gate, a push is built, checked and rehearsed while its objects are still in quarantine. Only then does the ref
move, and the rehearsed release gets the bot. Without a gate the ref has already moved, and git can no longer fail the
push: a failure is shown in a large frame.

Of several pushes at once each deploys the branch as it is *then*: the repository is locked from reading the branch
until the supervisor has the request, so a slow push cannot bring back a commit that a later one has replaced.
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
from ..system.account import act_as_owner_of, give_to_owner
from .bot_state import bot_state
from .problems import of_home
from .push_output import PushOutput, show_result
from .push_request import PushRequest
from .pushed_refs import (
    PushOptions,
    Update,
    not_deployed,
    push_options,
    updates,
)

__all__ = ["receive"]

_LOCK_WITHIN = 10.0
_GATE = "pre-receive"


def receive(name: str, lines: bytes, repository: Path, environment: Mapping[str, str], out: TextIO) -> int:
    """Run the hook `name`; return its exit code.

    `lines` are git's, a ref each; `environment` is the one git gave; `out` leads to the person who pushes.
    """
    output = PushOutput(out)
    gate = name == _GATE
    home: Path | None = None
    try:
        configured = settings(repository)
        if configured is None:
            raise HookError(
                repository, f"has lost its settings: run `neverblink hook install {repository}` again"
            )
        home = configured.home
        # Otherwise a push by root leaves files that the bot's user can neither read nor replace.
        give_to_owner(repository)
        act_as_owner_of(configured.home)
        options = push_options(environment)
        pushed = updates(lines)
        return _Push(repository, configured, options, environment, output).run(pushed, gate=gate)
    except CommandFault as refused:
        # A later push is deployed instead: there is nothing to repeat.
        again = None if "commit" in refused.fault.facts else repository
        return _fail(output, gate, home, refused.message, again)
    except NeverblinkError as problem:
        return _fail(output, gate, home, problem.message, repository)
    except Exception as problem:
        # A bug: the user who pushed needs to know the state of the bot.
        return _fail(output, gate, home, f"unexpected {type(problem).__name__}: {problem}", repository)


class _Push:
    def __init__(
        self,
        repository: Path,
        settings: HookSettings,
        options: PushOptions,
        environment: Mapping[str, str],
        output: PushOutput,
    ) -> None:
        self._repository = repository
        self._settings = settings
        self._options = options
        self._environment = environment
        self._output = output

    def run(self, pushed: list[Update], *, gate: bool) -> int:
        branch = self._settings.branch
        ours = [update for update in pushed if update.is_branch(branch) and not update.deletes]
        if not gate:
            for update in pushed:
                if update not in ours:
                    self._output.detail(not_deployed(update, branch))
        if not ours:
            return 0
        if gate and self._options.unknown:
            raise NeverblinkError("; ".join(self._options.unknown))
        if not self._settings.gate or gate:
            for unknown in self._options.unknown:
                self._output.warn(unknown)
        for problem in of_home(self._settings):
            raise NeverblinkError(problem)
        with Client(Home(self._settings.home), self._who()) as client, client.events() as events:
            request = PushRequest(client, events, self._output)
            return self._rehearse(request, ours[0]) if gate else self._deploy(request, client, ours[0])

    def _rehearse(self, request: PushRequest, update: Update) -> int:
        quarantine = self._environment.get("GIT_QUARANTINE_PATH", "")
        objects = os.path.abspath(quarantine) if quarantine else ""
        request.begin(self._command(update.new, dry_run=True, objects=objects), update.new)
        ended = request.follow(request.number())
        return (
            0 if show_result(self._output, ended, self._settings.branch, self._repository, gate=True) else 1
        )

    def _deploy(self, request: PushRequest, client: Client, update: Update) -> int:
        with _locked(self._repository):
            now = ask(self._repository, "rev-parse", "--verify", "--quiet", update.ref)
            if now != update.new:
                self._output.step(
                    f"{self._settings.branch} has moved on to {now[:8]}, and that push deploys it"
                )
                return 0
            request.begin(self._handed_over(client, self._command(update.new)), update.new)
        number = request.number()
        if not self._options.wait:
            self._output.verdict(f"deployment {number} goes on by itself: see `neverblink history {number}`")
            return 0
        ended = request.follow(number)
        return (
            0 if show_result(self._output, ended, self._settings.branch, self._repository, gate=False) else 1
        )

    def _handed_over(self, client: Client, command: Deploy) -> Deploy:
        """The command, for the release that the gate has rehearsed, if there is a gate."""
        if not self._settings.gate:
            return command
        made: list[dict[str, str]] = client.ask(Releases())["releases"]
        of_commit = [release["id"] for release in made if release.get("commit") == command.commit]
        if not of_commit:
            return command
        return msgspec.structs.replace(command, release=of_commit[0], repository="", commit="")

    def _command(self, commit: str, *, dry_run: bool = False, objects: str = "") -> Deploy:
        return Deploy(
            repository=str(self._repository),
            commit=commit,
            ref=self._settings.branch,
            objects=objects,
            why=self._options.why,
            force=self._options.force,
            replace=self._options.replace,
            change_bot=self._options.change_bot,
            as_read=self._options.as_read,
            drop=self._options.drop,
            queue=not self._options.replace,
            dry_run=dry_run,
        )

    def _who(self) -> str:
        """Who pushed: the user of an access layer (gitolite, a web server), or the account."""
        return self._environment.get("GL_USER") or self._environment.get("REMOTE_USER") or who_asks()


def _fail(output: PushOutput, gate: bool, home: Path | None, problem: str, again: Path | None) -> int:
    """Show that the push failed. git runs no hook for a commit that is already there, so a retry needs a command."""
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
    """Lock the repository against other pushes. The lock ends with the process and leaves no file."""
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
