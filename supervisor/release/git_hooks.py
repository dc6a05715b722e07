"""Installs the hooks in a bare repository, and removes them so that the repository is as before.

An existing hook is never overwritten: it gets a second name beside ours, and ours runs it first. Removing ours gives
its name back, so its bytes, its mode and a link stay the same. The settings of the hooks are in the repository's own
configuration, under `neverblink.*`, where `git config` shows and changes them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from ...protocol.errors import NeverblinkError
from ..store.state_dir import Home
from ..system.account import expanded, give_to_owner
from ..system.disk import rename_durably
from ..system.text import clean, is_encodable
from .git import GitError, ask, ask_bytes
from .hooked_repositories import forget, remember

__all__ = [
    "BEFORE",
    "HOOKS",
    "SCRIPT",
    "Hook",
    "HookError",
    "HookSettings",
    "find",
    "install",
    "remove",
    "settings",
]

HOOKS = ("pre-receive", "post-receive", "pre-auto-gc")
"""The first is installed only for a gate."""
BEFORE = ".before-neverblink"
"""The suffix that a hook gets which was there before."""

SCRIPT = Path(__file__).resolve().parents[2] / "bin" / "post-receive"
"""Beside the supervisor in a checkout and in an installation alike."""

_SECTION = "neverblink"
_PUSH_OPTIONS = "receive.advertisePushOptions"
_OURS = b"# neverblink: "
_SCOPES = ("--local", "--global", "--system")


class HookError(NeverblinkError):
    """The hooks of the repository `where` can't be installed or removed."""

    def __init__(self, where: Path, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where


class HookSettings(msgspec.Struct, frozen=True):
    """The settings of the hooks of one repository."""

    home: Path
    """The home of the bot that a push deploys to."""
    branch: str
    gate: bool
    """Whether a push is built and rehearsed before its ref moves, and refused when that fails."""
    python: Path
    """The interpreter that has the neverblink which installed them."""


class Hook(msgspec.Struct, frozen=True):
    """One hook as found: its owner, and whether another hook is chained behind ours."""

    name: str
    path: Path
    state: str
    """"none", "ours", "old" (ours, of another version) or "other"."""
    chained: bool


def install(where: Path, home: Path, *, branch: str, gate: bool) -> list[Hook]:
    """Make a push of `branch` to the bare repository `where` deploy to `home`; return the hooks.

    Installing again changes the settings. Raises `HookError` and `GitError`, and then nothing has changed.
    """
    repository = git_dir(where)
    _check_branch(repository, branch)
    _directory(repository).mkdir(exist_ok=True)
    wanted = HOOKS if gate else HOOKS[1:]
    for hook in find(where):
        if hook.name in wanted and hook.state == "other" and hook.chained:
            raise HookError(
                hook.path,
                f"was installed after ours: remove it or {hook.name}{BEFORE}: only one can be kept",
            )
    if git_config(repository, f"{_SECTION}.home") is None:
        # Only the first time: later the value is ours.
        _set(repository, "pushOptionsWere", git_config(repository, _PUSH_OPTIONS) or "")
    _set(repository, "home", str(home.absolute()))
    # Not resolved: an environment's interpreter is a link, and it finds its environment by its own name.
    _set(repository, "python", os.path.abspath(sys.executable))
    _set(repository, "branch", branch)
    _set(repository, "gate", "true" if gate else "false")
    ask(repository, "config", _PUSH_OPTIONS, "true")
    for hook in find(where):
        if hook.name in wanted:
            _write_ours(hook)
        else:
            _remove_ours(hook)
    try:
        remember(home.absolute(), repository)
    except OSError as problem:
        raise HookError(home, f"can't be written: {problem.strerror}") from None
    _give(repository, home)
    return find(where)


def remove(where: Path) -> list[Hook]:
    """Remove our hooks and settings, and restore the names of earlier hooks.

    Returns the hooks that another program has replaced since, which stay. Raises `HookError` and `GitError`.
    """
    repository = git_dir(where)
    found = find(where)
    options = git_config(repository, f"{_SECTION}.pushOptionsWere")
    current = settings(where)
    if current is not None:
        forget(current.home, repository)
    if options is None and not any(hook.state in ("ours", "old") for hook in found):
        raise HookError(repository, "has no neverblink hook")
    for hook in found:
        _remove_ours(hook)
    if options:
        ask(repository, "config", _PUSH_OPTIONS, options)
    elif options is not None and git_config(repository, _PUSH_OPTIONS) is not None:
        ask(repository, "config", "--unset-all", _PUSH_OPTIONS)
    if options is not None:
        ask(repository, "config", "--remove-section", _SECTION)
    _give(repository, current.home if current is not None else None)
    return [hook for hook in found if hook.state == "other" and hook.chained]


def settings(where: Path) -> HookSettings | None:
    """The settings of the hooks of the bare repository `where`, None for none. Raises `GitError`."""
    repository = git_dir(where)
    try:
        output = ask_bytes(repository, "config", "--local", "-z", "--get-regexp", rf"^{_SECTION}\.")
    except GitError:
        # git fails when there is no such setting.
        return None
    values: dict[str, str] = {}
    for entry in map(os.fsdecode, output.split(b"\0")):
        name, _, values[name] = entry.partition("\n")
    home, python, branch, gate = (
        values.get(f"{_SECTION}.{name}", "") for name in ("home", "python", "branch", "gate")
    )
    if not home or not python:
        return None
    return HookSettings(Path(home), branch or "main", gate == "true", Path(python))


def find(where: Path) -> list[Hook]:
    """The two hooks of the bare repository `where`, as they are. Raises `HookError` and `GitError`."""
    directory = _directory(git_dir(where))
    return [_look(directory / name) for name in HOOKS]


def git_dir(where: Path) -> Path:
    """The git directory of the bare repository `where`. Raises `HookError` when it is not one."""
    if not is_encodable(str(where)):
        raise HookError(Path(clean(str(where))), "its path is not UTF-8: give the directory another name")
    if not where.is_dir():
        problem = "is a file" if where.exists() else "is not there"
        raise HookError(where, f"{problem}: make a repository to push to with `git init --bare {where}`")
    try:
        bare, path = ask(where, "rev-parse", "--is-bare-repository", "--absolute-git-dir").splitlines()
    except GitError as problem:
        raise HookError(where, problem.message) from None
    if bare != "true":
        raise HookError(
            where,
            "has a working tree, and git refuses a push to the branch that is checked out: "
            f"make a repository to push to with `git init --bare {where}.git`",
        )
    return Path(path)


def git_config(repository: Path, name: str, scope: str = "--local") -> str | None:
    """The value of `name` in the repository's own configuration (or another scope's), None when it is not set."""
    try:
        return ask(repository, "config", scope, "--get", name)
    except GitError:
        return None


def _give(repository: Path, home: Path | None) -> None:
    """When root works on a user's repository and home, give new files to that user."""
    give_to_owner(repository)
    if home is not None:
        give_to_owner(home, (Home(home).environments,))


def _look(path: Path) -> Hook:
    before = path.with_name(path.name + BEFORE)
    chained = os.path.lexists(before)
    try:
        there = path.read_bytes()
    except OSError:
        state = "other" if os.path.lexists(path) else "none"
    else:
        # Two names for one file: an installation was interrupted before ours was written.
        chained = chained and not before.samefile(path)
        mine = there == SCRIPT.read_bytes()
        state = "ours" if mine else "old" if there.split(b"\n", 2)[1:2] and _is_ours(there) else "other"
    return Hook(path.name, path, state, chained)


def _is_ours(text: bytes) -> bool:
    return text.split(b"\n", 2)[1].startswith(_OURS)


def _write_ours(hook: Hook) -> None:
    """Write ours. An existing hook keeps its inode under a second name, and there is a hook at any moment."""
    before = hook.path.with_name(hook.name + BEFORE)
    fresh = hook.path.with_name(f".{hook.name}.neverblink")
    try:
        if hook.state == "other" and not os.path.lexists(before):
            os.link(hook.path, before, follow_symlinks=False)
        fresh.write_bytes(SCRIPT.read_bytes())
        fresh.chmod(0o755)
        rename_durably(fresh, hook.path)
    except OSError as problem:
        fresh.unlink(missing_ok=True)
        raise HookError(hook.path, f"can't be written: {problem.strerror}") from None


def _remove_ours(hook: Hook) -> None:
    if hook.state not in ("ours", "old"):
        return
    try:
        if hook.chained:
            hook.path.with_name(hook.name + BEFORE).replace(hook.path)
        else:
            hook.path.unlink()
    except OSError as problem:
        raise HookError(hook.path, f"can't be removed: {problem.strerror}") from None


def _directory(repository: Path) -> Path:
    """Where git looks for the repository's hooks. Raises `HookError` when that is shared with others."""
    configured = next(
        (path for scope in _SCOPES if (path := git_config(repository, "core.hooksPath", scope))), "hooks"
    )
    directory = (repository / expanded(Path(configured))).resolve()
    if not directory.is_relative_to(repository.resolve()):
        raise HookError(
            repository,
            f"its hooks are those of {directory} (core.hooksPath), which other repositories may use too: give it its "
            f"own with `git -C {repository} config core.hooksPath hooks`",
        )
    return directory


def _check_branch(repository: Path, branch: str) -> None:
    if not is_encodable(branch):
        raise HookError(
            repository, f'"{clean(branch)}" is not UTF-8: name another branch, as in --branch main'
        )
    try:
        ask(repository, "check-ref-format", "--branch", branch)
    except GitError:
        raise HookError(
            repository, f"\"{branch}\" can't be a branch's name: name one, as in --branch main"
        ) from None


def _set(repository: Path, name: str, value: str) -> None:
    ask(repository, "config", f"{_SECTION}.{name}", value)
