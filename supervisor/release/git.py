"""Reads commits with git: what a name means, message and author, and files.

The `git` command does all of it, without the variables that a hook or a shell may have set: the repository is always
named explicitly. Nothing in a repository is changed: a commit is exported through an index of its own, and no hook
runs.

A release stands alone, so references to other places are detected. A submodule stays an empty directory, as in a plain
clone, with a warning. A file in large file storage that could not be fetched is an error, because a bot would read the
pointer as if it were the file.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ...protocol.errors import NeverblinkError
from ..store.history_rows import CommitNote
from ..system.text import clean

__all__ = [
    "Contents",
    "FoundCommit",
    "GitError",
    "ask",
    "ask_bytes",
    "contents_of",
    "describe",
    "export",
    "log",
    "resolve",
    "shortened",
]

_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_SIZE = 1024
_LFS_MEND = (
    "bring its files to this repository with `git lfs push` or `git lfs fetch`, or keep them outside of it"
)
_SMUDGE = re.compile(r"Error downloading object: (.+?) \([0-9a-f]+\): Smudge error")
_SUBMODULE = "160000"
_WITHIN_S = 300.0
_MOST_WORDS = 2000
_LONGEST_SUBJECT = 200


class GitError(NeverblinkError):
    """Git failed; the message has its own words, if any."""


class FoundCommit(msgspec.Struct, frozen=True):
    """A directory in a repository, and a commit of it."""

    repository: Path
    """The git directory."""
    commit: str
    ref: str
    """Its name as given, or the branch of HEAD."""
    directory: str
    """The directory within the tree, "" for its root."""
    dirty: bool
    """The working tree has uncommitted changes."""


class Contents(msgspec.Struct, frozen=True):
    """What is in a directory of a commit: the size of its files in bytes, and the submodules, by path."""

    files: int
    bytes: int
    submodules: tuple[str, ...]


def resolve(place: Path, name: str) -> FoundCommit | None:
    """The commit called `name` in the repository around `place`, None when either does not exist."""
    try:
        where = ask(place, "rev-parse", "--path-format=absolute", "--git-common-dir", "--show-prefix")
        commit = ask(place, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        branch = ask(place, "rev-parse", "--abbrev-ref", "HEAD") if name in ("HEAD", "@") else name
    except GitError:
        return None
    directory, inside = [*where.split("\n"), ""][:2]
    ref = name if branch == "HEAD" else branch
    return FoundCommit(Path(directory), commit, ref, inside.rstrip("/"), _is_dirty(place))


def describe(repository: Path, commit: str, ref: str = "", objects: str = "") -> CommitNote:
    """Author and subject of a commit, given by its full id. Raises `GitError` when it does not exist."""
    if not _FULL_ID.fullmatch(commit):
        raise GitError(f'"{commit}" is not a commit: expected its full id, 40 hexadecimal digits')
    if not repository.is_dir():
        raise GitError(f"{repository}: there is no such directory: expected a git repository")
    git = _Git(repository, objects)
    output = git.bytes(
        "log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%H%x00%an <%ae>%x00%s", commit
    )
    id, author, subject = [*map(clean, output.split(b"\0")), "", ""][:3]
    if id != commit:
        raise GitError(f"{repository}: {commit} is not a commit there")
    return CommitNote(commit, shortened(subject), shortened(author), ref)


def shortened(words: str) -> str:
    """A subject or a name, cut to the length that is shown."""
    return words if len(words) <= _LONGEST_SUBJECT else f"{words[: _LONGEST_SUBJECT - 1]}…"


def log(repository: Path, since: str, until: str, most: int = 1000) -> list[CommitNote]:
    """The commits that are in `until` and not in `since`, newest first. Raises `GitError`."""
    output = _Git(repository).bytes(
        *("log", f"--max-count={most}", "--no-show-signature", "--encoding=UTF-8"),
        *("--format=%H%x00%an <%ae>%x00%s", "--end-of-options", f"{since}..{until}"),
    )
    rows = ([clean(part) for part in line.split(b"\0")] for line in output.split(b"\n") if line)
    return [CommitNote(row[0], shortened(row[2]), shortened(row[1])) for row in rows if len(row) == 3]


def contents_of(repository: Path, commit: str, directory: str = "", objects: str = "") -> Contents:
    """The contents of an export. Raises `GitError`, also when the commit has no such directory."""
    output = _Git(repository, objects).bytes(
        "ls-tree", "-r", "-l", "-z", "--full-tree", _tree(commit, directory)
    )
    files = size = 0
    submodules: list[str] = []
    for entry in map(clean, filter(None, output.split(b"\0"))):
        about, _, path = entry.partition("\t")
        mode, _, _, length = about.split()
        if mode == _SUBMODULE:
            submodules.append(path)
        else:
            files += 1
            size += int(length)
    return Contents(files, size, tuple(submodules))


def export(repository: Path, commit: str, target: Path, directory: str = "", objects: str = "") -> None:
    """Write what is in a directory of a commit into the new directory `target`. Raises `GitError`."""
    target.mkdir(parents=True)
    index = target.with_name(f"{target.name}.index")
    git = _Git(repository, objects, {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(target)}, target)
    try:
        git.ask("read-tree", _tree(commit, directory))
        git.ask("checkout-index", "--all", "--quiet", f"--prefix={target}/")
    except GitError as problem:
        # git runs git-lfs for each of its files, and git-lfs prints a lot when it can't fetch one.
        smudged = _SMUDGE.search(problem.message)
        if smudged is None:
            raise
        raise GitError(f"{smudged[1]}: git-lfs can't get it: {_LFS_MEND}") from None
    finally:
        index.unlink(missing_ok=True)
    pointers = [
        clean(str(path.relative_to(target))) for path in sorted(target.rglob("*")) if _is_pointer(path)
    ]
    if pointers:
        more = f" and {len(pointers) - 1} more" if len(pointers) > 1 else ""
        raise GitError(
            f"{pointers[0]}{more}: only a pointer of Git LFS is here, and not the file: install git-lfs where the "
            f"supervisor runs (`git lfs install`); {_LFS_MEND}"
        )


def _is_dirty(place: Path) -> bool:
    try:
        return bool(ask(place, "status", "--porcelain", "--", "."))
    except GitError:
        # A bare repository has no working tree.
        return False


class _Git:
    """Runs git on one repository."""

    def __init__(
        self,
        repository: Path,
        objects: str = "",
        more: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        also = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": objects} if objects else {}
        self._environment = {**_clean(), "GIT_DIR": str(repository), **also, **(more or {})}
        self._cwd = cwd or repository

    def ask(self, *words: str) -> str:
        return clean(self.bytes(*words))

    def bytes(self, *words: str) -> bytes:
        return _run(self._cwd, self._environment, words)


def ask(place: Path, *words: str) -> str:
    """The output of `git WORDS` in the directory `place`, without the final newline. Raises `GitError`."""
    return clean(ask_bytes(place, *words))


def ask_bytes(place: Path, *words: str) -> bytes:
    """The same as bytes, for output separated by NUL."""
    return _run(place, _clean(), words)


def _run(cwd: Path, environment: Mapping[str, str], words: tuple[str, ...]) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", *words],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_WITHIN_S,
            check=False,
        )
    except FileNotFoundError:
        raise GitError("git is not installed: install it (Debian: apt-get install git)") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {words[0]} did not end within {_WITHIN_S:.0f}s") from None
    except OSError as problem:
        raise GitError(f"git can't be run in {cwd}: {problem.strerror}") from None
    if done.returncode:
        errors = " ".join(clean(done.stderr).split())[:_MOST_WORDS]
        raise GitError(f"git {words[0]}: {errors or f'exit {done.returncode}'}")
    return done.stdout.rstrip(b"\n")


def _clean() -> dict[str, str]:
    """Our environment without git's variables: in a hook they name the repository that is pushed to."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    return {**ours, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}


_KEPT = frozenset(
    {
        "GIT_AUTHOR_EMAIL",
        "GIT_AUTHOR_NAME",
        "GIT_COMMITTER_EMAIL",
        "GIT_COMMITTER_NAME",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_EXEC_PATH",
        "GIT_SSH_COMMAND",
    }
)


def _tree(commit: str, directory: str) -> str:
    return f"{commit}:{directory.strip('/')}" if directory.strip("/") else f"{commit}^{{tree}}"


def _is_pointer(path: Path) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _POINTER_SIZE:
        return False
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER
