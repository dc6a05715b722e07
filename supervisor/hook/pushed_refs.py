"""Parses the input of a hook: the pushed refs and the push options.

Pure: reads no files and does not run git.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import msgspec

from ...protocol.errors import NeverblinkError
from ..system.text import clean

__all__ = ["OPTIONS", "OptionError", "PushOptions", "Update", "not_deployed", "push_options", "updates"]

OPTIONS = {
    "no-wait": "do not wait for the deployment's end",
    "force": "hand over inside a protected window too",
    "change-bot": "hand over though the configuration has another `name` or `bot`",
    "as-read": "hand over though values of the state do not read back as they were written",
    "drop=FIELD": "lose the values of this field of the state; may be given several times",
    "replace": "supersede the deployment that is under way",
    "message=WHY": "why, for the history",
}

_BRANCH = "refs/heads/"
_TAG = "refs/tags/"


class OptionError(NeverblinkError):
    """An unknown push option; the message lists the known ones."""


class Update(msgspec.Struct, frozen=True):
    """One ref that a push moves from commit `old` to commit `new`."""

    old: str
    new: str
    ref: str

    @property
    def deletes(self) -> bool:
        return not self.new.strip("0")

    @property
    def creates(self) -> bool:
        return not self.old.strip("0")

    def is_branch(self, branch: str) -> bool:
        return self.ref == _BRANCH + branch


class PushOptions(msgspec.Struct, frozen=True):
    """The push options."""

    wait: bool = True
    force: bool = False
    replace: bool = False
    why: str = ""
    unknown: tuple[str, ...] = ()
    """A sentence for each unknown option."""
    change_bot: bool = False
    as_read: bool = False
    drop: tuple[str, ...] = ()


def updates(lines: bytes) -> list[Update]:
    """The refs that a push moves, from the lines that git passes to a hook. Refs are bytes in any encoding."""
    rows = (line.split(b" ", 2) for line in lines.split(b"\n"))
    return [Update(*map(clean, row)) for row in rows if len(row) == 3]


def push_options(environment: Mapping[str, str]) -> PushOptions:
    """The push options in a hook's environment."""
    count = environment.get("GIT_PUSH_OPTION_COUNT", "")
    options = [
        environment.get(f"GIT_PUSH_OPTION_{n}", "") for n in range(int(count) if count.isdecimal() else 0)
    ]
    unknown: list[str] = []
    flags: set[str] = set()
    drop: list[str] = []
    why = ""
    for option in options:
        name, equals, value = option.partition("=")
        if name == "message" and equals:
            why = value.strip()
        elif name == "drop" and value.strip():
            drop.append(value.strip())
        elif option in ("no-wait", "force", "replace", "change-bot", "as-read"):
            flags.add(option)
        else:
            unknown.append(_unknown(option))
    return PushOptions(
        "no-wait" not in flags,
        "force" in flags,
        "replace" in flags,
        why,
        tuple(unknown),
        change_bot="change-bot" in flags,
        as_read="as-read" in flags,
        drop=tuple(drop),
    )


def not_deployed(update: Update, branch: str) -> str:
    """Why this ref is not deployed, for the user who pushed it: only `branch` is."""
    if update.ref.startswith(_TAG):
        return f"tag {update.ref.removeprefix(_TAG)}: tags deploy nothing, only branch {branch} does"
    if not update.ref.startswith(_BRANCH):
        return f"{update.ref}: deploys nothing, only branch {branch} does"
    name = update.ref.removeprefix(_BRANCH)
    if name == branch:
        return f"branch {branch} was deleted: the bot goes on with the code it runs"
    if update.deletes:
        return f"branch {name} was deleted: that changes nothing, only branch {branch} deploys"
    sentence = f"branch {name}: deploys nothing, only branch {branch} does"
    if {name, branch} <= {"main", "master"}:
        sentence += f" (to deploy this: git push live {name}:{branch})"
    return sentence


def _unknown(option: str) -> str:
    name = option.partition("=")[0]
    near = difflib.get_close_matches(
        name.lower().replace("_", "-"), [*map(_name, OPTIONS), "no-wait"], 1, 0.6
    )
    known = ", ".join(f"-o {option}" for option in OPTIONS)
    mend = (
        f"did you mean -o {next(option for option in OPTIONS if _name(option) == near[0])}?"
        if near
        else f"there are {known}"
    )
    return f'there is no push option "{option}": {mend}'


def _name(option: str) -> str:
    return option.partition("=")[0]
