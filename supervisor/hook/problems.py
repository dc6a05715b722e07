"""What stands in the way of a push: the repository's hooks, and the home they lead to.

Found out by looking, before anything is tried, so that each has its own words and its mend. A home is for one user
alone, so who pushes decides what can be seen of it: to others even whether its supervisor runs is hidden.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..release.git_hooks import (
    BEFORE,
    HOOKS,
    HookSettings,
    find,
    git_config,
    settings,
)
from ..store.state_dir import Home
from ..system.permissions import user_name

__all__ = ["of_home", "of_repository"]


def of_repository(where: Path) -> Iterator[str]:
    """What keeps a push to the bare repository `where` from being deployed. Raises `GitError` and `HookError`."""
    told = settings(where)
    if told is None:
        yield f"{where} has no neverblink hook: put one there with `neverblink hook install {where}`"
        return
    again = f"run `neverblink hook install {where}` again"
    wanted = HOOKS if told.gate else HOOKS[1:]
    for hook in find(where):
        if hook.name not in wanted:
            continue
        if hook.state == "none":
            yield f"{hook.path} is gone: {again}"
        elif hook.state == "other":
            more = f", and move {hook.name}{BEFORE} away before that" if hook.chained else ""
            yield f"{hook.path} was replaced by another hook: {again}, and both will run{more}"
        elif hook.state == "old":
            yield f"{hook.path} is of another version of neverblink: {again}"
        elif not os.access(hook.path, os.X_OK):
            yield f"{hook.path} can't be executed, so git passes it by: {again}"
    if not os.access(told.python, os.X_OK):
        yield f"{told.python}, which installed the hook, is gone: {again} with the neverblink that is there now"
    if git_config(where, "receive.advertisePushOptions") != "true":
        yield f"push options are switched off, so `git push -o` is refused: {again}"
    yield from of_home(told)


def of_home(told: HookSettings) -> Iterator[str]:
    """Why the supervisor can't be asked by this user; nothing when it can."""
    path = told.home
    me = os.geteuid()
    try:
        owner = path.stat().st_uid
        # The lock tells whether a supervisor runs; a lock that cannot be opened looks like a free one.
        within = me == 0 or os.access(path, os.R_OK | os.X_OK)
    except FileNotFoundError:
        yield f"there is no home {path}: start the bot with `neverblink up`, or install the hook for another --home"
        return
    except PermissionError:
        into = f"this push runs as {user_name(me)}, who may not look into {path.parent}"
        yield f"{into}: push as the user who runs the bot"
        return
    except OSError as problem:
        yield f"home {path} can't be looked at: {problem.strerror}"
        return
    if owner != me and not within:
        mine, theirs = user_name(me), user_name(owner)
        yield (
            f"home {path} belongs to {theirs}, and this push runs as {mine}: push as {theirs}, as in "
            f"ssh://{theirs}@HOST/…, or run the bot as {mine}"
        )
    elif Home(path).owner() is None:
        yield f"no supervisor runs in home {path}: start the bot with `neverblink up`"
