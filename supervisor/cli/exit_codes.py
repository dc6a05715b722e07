"""Exit codes: the one place where an error, a refusal or an outcome becomes a number.

Scripts depend on these, so they mean the same for every command, and docs/commands.md is checked against `MEANING`. 0,
1 and 2 are used as in other programs (2 is a usage error); the others report the state of the bot for a pipeline: after
3 and 4 the old code leads, after 8 no worker does.
"""

from __future__ import annotations

from enum import IntEnum

from ...protocol.commands import Code
from ...protocol.duration import DurationError
from ...protocol.errors import NeverblinkError
from ...protocol.handoff.handoff_events import NO_BOUNDARY
from ...protocol.state_changes import WOULD_DROP
from ..adopt.adopt_error import AdoptError
from ..api.client import CommandFault, Unreachable
from ..bot.bring_up import StartFailed
from ..config.config import ConfigError
from ..release.git import GitError
from ..release.git_hooks import HookError
from ..release.releases import ReleaseError
from ..sockets.client_keys import AccessError
from ..store.alone_lock import AloneBusy
from ..store.history_db import NoSuchDeployment
from ..store.living_workers import HomeInUse
from ..store.orphans import HomeOrphaned
from ..store.state_dir import HomeBusy, HomeError
from ..system.account import NoHomeDirectory

__all__ = ["MEANING", "BadInput", "Exit", "exit_of_error", "exit_of_fault", "exit_of_outcome"]


class BadInput(NeverblinkError):
    """An argument or input of a command is not usable; the message says why and what to give instead."""


class Exit(IntEnum):
    DONE = 0
    BROKEN = 1
    BAD_INPUT = 2
    ABORTED = 3
    ROLLED_BACK = 4
    BUSY = 5
    BOUNDARY = 6
    UNREACHABLE = 7
    DOWN = 8
    DROPS = 9
    INTERRUPTED = 130


MEANING: dict[Exit, str] = {
    Exit.DONE: "done",
    Exit.BROKEN: "broken: `audit` or `check` found something, an answer could not be written, or neverblink failed",
    Exit.BAD_INPUT: "bad input: usage, config, a path, an unknown release, a home of another user",
    Exit.ABORTED: "aborted: the old code still leads, and the bot was not interrupted",
    Exit.ROLLED_BACK: "rolled back: the new code led, and the old code leads again",
    Exit.BUSY: "busy or locked: a deployment runs, the home is in use, or deployments are locked",
    Exit.BOUNDARY: "no boundary in time: a decision, a window or a task held the handoff; the old code still leads",
    Exit.UNREACHABLE: "the supervisor cannot be reached, or has not finished the command in time",
    Exit.DOWN: "the bot is down: no worker leads",
    Exit.DROPS: "the new code would drop values of the state: nothing was changed",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
}

_FAULTS: dict[Code, Exit] = {
    "bad-request": Exit.BAD_INPUT,
    "bad-input": Exit.BAD_INPUT,
    "not-found": Exit.BAD_INPUT,
    "busy": Exit.BUSY,
    "locked": Exit.BUSY,
    "aborted": Exit.ABORTED,
    "rolled-back": Exit.ROLLED_BACK,
    "boundary": Exit.BOUNDARY,
    "down": Exit.DOWN,
    "failed": Exit.BROKEN,
}

_OUTCOMES: dict[str, Exit] = {
    "done": Exit.DONE,
    "rehearsed": Exit.DONE,
    "aborted": Exit.ABORTED,
    "rolled_back": Exit.ROLLED_BACK,
}


def exit_of_fault(code: Code) -> Exit:
    """The exit code for a command that the supervisor refused."""
    return _FAULTS[code]


def exit_of_outcome(outcome: str, *, leads: bool = True, reason: str = "") -> Exit:
    """The exit code for how a deployment ended, and why. `leads`: a worker leads after it."""
    code = _OUTCOMES.get(outcome, Exit.BROKEN)
    if code is not Exit.ABORTED:
        return code
    if not leads:
        return Exit.DOWN
    if reason.startswith(WOULD_DROP):
        return Exit.DROPS
    return Exit.BOUNDARY if reason.startswith(NO_BOUNDARY) else code


def exit_of_error(error: NeverblinkError) -> Exit:
    """The exit code for an error that ended a command."""
    if isinstance(error, CommandFault):
        return exit_of_fault(error.fault.code)
    if isinstance(error, StartFailed) and error.reason.startswith(WOULD_DROP):
        return Exit.DROPS
    return next((code for kind, code in _ERRORS if isinstance(error, kind)), Exit.BROKEN)


_ERRORS: tuple[tuple[type[NeverblinkError], Exit], ...] = (
    (Unreachable, Exit.UNREACHABLE),
    (StartFailed, Exit.DOWN),
    (HomeBusy, Exit.BUSY),
    (AloneBusy, Exit.BUSY),
    (HomeInUse, Exit.BUSY),
    (HomeOrphaned, Exit.BUSY),
    (BadInput, Exit.BAD_INPUT),
    (AdoptError, Exit.BAD_INPUT),
    (ConfigError, Exit.BAD_INPUT),
    (NoHomeDirectory, Exit.BAD_INPUT),
    (HomeError, Exit.BAD_INPUT),
    (ReleaseError, Exit.BAD_INPUT),
    (GitError, Exit.BAD_INPUT),
    (HookError, Exit.BAD_INPUT),
    (NoSuchDeployment, Exit.BAD_INPUT),
    (DurationError, Exit.BAD_INPUT),
    (AccessError, Exit.BAD_INPUT),
)
"""All other errors of neverblink are failures of the command itself: `BROKEN`."""
