"""What prevents a push from being deployed: problems of the repository's hooks and of their home.

Checked before anything is tried, so that each problem gets its own message with the fix. A home is private to one user,
so another user who pushes cannot even see whether its supervisor runs.
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
    """The problems that prevent a push to the bare repository `where` from being deployed. Raises `GitError` and
    `HookError`."""
    configured = settings(where)
    if configured is None:
        yield f"{where} has no neverblink hook: run `neverblink hook install {where}`"
        return
    again = f"run `neverblink hook install {where}` again"
    wanted = HOOKS if configured.gate else HOOKS[1:]
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
            yield f"{hook.path} cannot be executed, so git ignores it: {again}"
    if not os.access(configured.python, os.X_OK):
        yield f"{configured.python}, which installed the hook, is gone: {again} with the current neverblink"
    if git_config(where, "receive.advertisePushOptions") != "true":
        yield f"push options are switched off, so `git push -o` is refused: {again}"
    yield from of_home(configured)


def of_home(settings: HookSettings) -> Iterator[str]:
    """Why this user cannot reach the supervisor; nothing when they can."""
    path = settings.home
    me = os.geteuid()
    try:
        owner = path.stat().st_uid
        # The lock shows whether a supervisor runs; a lock that cannot be opened looks free.
        within = me == 0 or os.access(path, os.R_OK | os.X_OK)
    except FileNotFoundError:
        yield f"there is no home {path}: start the bot with `neverblink up`, or install the hook for another --home"
        return
    except PermissionError:
        into = f"this push runs as {user_name(me)}, who has no access to {path.parent}"
        yield f"{into}: push as the user who runs the bot"
        return
    except OSError as problem:
        yield f"home {path} cannot be read: {problem.strerror}"
        return
    if owner != me and not within:
        mine, theirs = user_name(me), user_name(owner)
        yield (
            f"home {path} belongs to {theirs}, and this push runs as {mine}: push as {theirs}, as in "
            f"ssh://{theirs}@HOST/…, or run the bot as {mine}"
        )
    elif Home(path).owner() is None:
        yield f"no supervisor runs in home {path}: start the bot with `neverblink up`"
