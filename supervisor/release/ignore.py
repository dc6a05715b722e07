"""Decides which files of a project stay out of a release, and which of the rest look like a secret.

Three lists decide, and the last rule that matches wins, as in git:

    built in            secrets, logs and databases: a release is kept for a long time, and is code
    .gitignore          what git ignores, where the project is in a git repository (asked of git itself, so that the
                        global excludes count and a tracked file is never left out)
    .neverblinkignore   the project's own list in the syntax of .gitignore; `!name` brings a file back

An excluded directory is not searched, so a file in it can only be included together with its directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

import msgspec
from pathspec import GitIgnoreSpec

from ...protocol.errors import NeverblinkError
from .git import GitError, ask, ask_bytes

__all__ = ["FILE_NAME", "Ignore", "IgnoreError", "looks_secret"]

FILE_NAME = ".neverblinkignore"

_SECRETS = (".env", ".env.*", "!.env.example", "!.env.sample", "!.env.template", "*.key", "*.p12", "*.pfx")
_LOGINS = ("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc", ".pgpass", ".pypirc")
_LOGS = ("*.log", "*.log.[0-9]*", "nohup.out")
_DATABASES = (
    "*.db",
    "*.db-journal",
    "*.db-shm",
    "*.db-wal",
    "*.sqlite",
    "*.sqlite-*",
    "*.sqlite3",
    "*.sqlite3-*",
)
_BUILT_IN = (*_SECRETS, *_LOGINS, *_LOGS, *_DATABASES)

_SECRET_NAMES = GitIgnoreSpec.from_lines(
    [
        "credentials",
        "credentials.*",
        "secrets",
        "secrets.*",
        "secret.*",
        "*.keystore",
        "*.jks",
        "*token*.json",
    ]
)
_SECRET_TEXT = re.compile(
    rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
    rb"|\bAKIA[0-9A-Z]{16}\b"
    rb"|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    rb"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    rb"|\bsk_live_[A-Za-z0-9]{16,}"
    rb"|(?i:\b(?:api_?key|api_?secret|secret_?key|client_?secret|access_?token|private_?key|password)\b[\"']?\s*[:=]\s*"
    rb"[\"'][A-Za-z0-9+/=_.-]{16,}[\"'])"
)
_LOOKED_AT = 256 * 1024
"""How many bytes of a file are searched for a secret. Keys are in small files, or at the beginning."""
_CODE_OF_OTHERS = ("node_modules/", "site-packages/")


class IgnoreError(NeverblinkError):
    """The project's .neverblinkignore can't be used."""


class IgnoreRule(msgspec.Struct, frozen=True):
    """The rule that excludes a file: its list, and its text ("" for a decision of git's)."""

    source: str
    pattern: str

    @property
    def built_in(self) -> bool:
        """Whether it is a built-in rule, which is in no file of the project."""
        return self.source == ""


class Ignore:
    """The rules for one project. Paths are relative to it, with `/` between their parts."""

    def __init__(self, own: Collection[str] = (), ignored_by_git: Collection[str] = ()) -> None:
        self._own = list(own)
        self._git = frozenset(ignored_by_git)
        try:
            self._spec = GitIgnoreSpec.from_lines([*_BUILT_IN, *self._own])
        except ValueError:
            bad = next(line for line in self._own if not _is_pattern(line))
            raise IgnoreError(f'{FILE_NAME}: "{bad}" is not a pattern of .gitignore') from None

    @classmethod
    def of(cls, root: Path, *, ask_git: bool = True) -> Ignore:
        """The rules of the project in `root`. Raises `IgnoreError`.

        `ask_git` is for a working directory. An exported commit is outside of git: all of it was committed on purpose.
        """
        try:
            own = (root / FILE_NAME).read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError:
            own = []
        except OSError as problem:
            raise IgnoreError(f"{root / FILE_NAME}: can't be read: {problem.strerror}") from None
        except UnicodeDecodeError:
            raise IgnoreError(f"{root / FILE_NAME}: is not UTF-8: save it as UTF-8") from None
        return cls(own, _ignored_by_git(root) if ask_git else ())

    def rule(self, name: str, *, directory: bool = False) -> IgnoreRule | None:
        """The rule that excludes `name`, None when it belongs in the release."""
        path = f"{name}/" if directory else name
        found = self._spec.check_file(path)
        if found.include is None:
            return IgnoreRule(".gitignore", "") if path in self._git else None
        if not found.include or found.index is None:
            return None
        at = found.index - len(_BUILT_IN)
        return (
            IgnoreRule("", _BUILT_IN[found.index]) if at < 0 else IgnoreRule(FILE_NAME, self._own[at].strip())
        )


def looks_secret(name: str, path: Path) -> str:
    """Why the file looks like a secret, "" when it does not. Raises `OSError`."""
    if name.startswith(_CODE_OF_OTHERS):
        return ""
    if _SECRET_NAMES.match_file(name):
        return "by its name"
    with path.open("rb") as file:
        found = _SECRET_TEXT.search(file.read(_LOOKED_AT))
    return "it holds what looks like a key or a password" if found else ""


def _ignored_by_git(root: Path) -> list[str]:
    """What git ignores in `root`, directories with a `/` at their end; nothing where there is no git, or no repository.

    A project that is ignored as a whole, as in a home directory under version control, is included all the same.
    """
    try:
        ask(root, "rev-parse", "--is-inside-work-tree")
        output = ask_bytes(
            root, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"
        )
    except GitError:
        return []
    names = [os.fsdecode(name) for name in output.split(b"\0") if name]
    return [] if "./" in names else names


def _is_pattern(line: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
