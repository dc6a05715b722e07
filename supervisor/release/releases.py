"""Releases: immutable copies of the code, one directory each, named by date and contents.

    releases/
        20261124T151404Z-1a2b3c4d/      the copy; its files are read-only, .release.json names its origin.
                                        The second half is from the commit's id, or the digest of the contents
        .led/20261124T151404Z-1a2b3c4d  empty: the release has led
        current -> 2026…                the release that leads and the one before: links for people and scripts,
        previous -> 2026…               moved atomically
        .new-…                          a release being copied; after a crash, the next one removes it

A worker is started from a release's real directory, never through a link, so its code never changes under it. A
release appears by one rename, so it is complete or absent.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ...protocol import size
from ...protocol.assignment import SOURCES
from ...protocol.errors import NeverblinkError
from ...protocol.wire import UNDECODABLE
from ..store.history_rows import CommitNote
from ..system.disk import need, sync_directory, sync_tree
from .copy_tree import (
    LED,
    MANIFEST,
    CopiedTree,
    TreeError,
    copy_tree,
    digest_of,
    remove_tree,
    size_of,
)
from .ignore import FILE_NAME, Ignore, IgnoreError, IgnoreRule

__all__ = [
    "AmbiguousRelease",
    "NoSuchRelease",
    "Release",
    "ReleaseError",
    "ReleaseStore",
]

_NEW = ".new-"
_OLD = ".old-"
_LED = ".led"
_SHOWN = 8
_MOST_NAMED = 5


class ReleaseError(NeverblinkError):
    """A release can't be made of, or found in, `path`."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class NoSuchRelease(ReleaseError):
    """There is no release called `name`; `known` are the ids of all, newest first."""

    def __init__(self, path: Path, name: str, known: list[str]) -> None:
        newest = f"the newest is {known[0]}" if known else "there are none yet"
        super().__init__(path, f'no release "{name}": see `neverblink releases` ({newest})')
        self.name = name
        self.known = known


class AmbiguousRelease(ReleaseError):
    """`name` is the beginning of several ids, `matches`."""

    def __init__(self, path: Path, name: str, matches: list[str]) -> None:
        super().__init__(
            path, f'"{name}" matches {", ".join(matches[:3])}{"…" if matches[3:] else ""}: give a longer name'
        )
        self.name = name
        self.matches = matches


class Release(msgspec.Struct, frozen=True):
    """One release. `made_at` is wall ns, `digest` the hexadecimal SHA-256 of its contents, `origin` the directory or
    the repository it was made of. The last four are "" when it was not made of a commit."""

    id: str
    path: Path
    made_at: int
    digest: str
    origin: str
    files: int
    bytes: int
    commit: str = ""
    subject: str = ""
    author: str = ""
    ref: str = ""

    @property
    def note(self) -> CommitNote | None:
        """The commit it was made of, None when it was made of a directory."""
        return CommitNote(self.commit, self.subject, self.author, self.ref) if self.commit else None


class _Manifest(msgspec.Struct, frozen=True):
    """The contents of a release's MANIFEST. Id and path are not in it: its place gives them."""

    made_at: int
    digest: str
    origin: str
    files: int
    bytes: int
    commit: str = ""
    subject: str = ""
    author: str = ""
    ref: str = ""


class ReleaseStore:
    """The releases in `directory`. `clock` returns wall ns. May be used from several threads of one process."""

    def __init__(self, directory: Path, clock: Callable[[], int] = time.time_ns) -> None:
        self.directory = directory.resolve()
        self._clock = clock
        self._making: set[str] = set()
        self._made = 0
        self._lock = threading.Lock()

    def make(
        self,
        source: Path,
        bot: str,
        note: CommitNote | None = None,
        origin: Path | None = None,
        warn: Callable[[str], None] = lambda _: None,
        leave_out: Collection[Path] = (),
    ) -> Release:
        """Make a release of the directory `source`, which must contain the bot MODULE:NAME ("": no Python code).

        Excluded are version control, environments, caches, neverblink's home, the directories `leave_out`, and what
        `release.ignore` excludes. Calls `warn` with each line that a person should see. For an exported commit,
        `note` names it, and relative paths are relative to `origin`. Slow for large trees: call it in a thread.
        Raises `ReleaseError` and `DiskFull`, and then leaves nothing behind.
        """
        source = source.absolute()
        if not source.is_dir():
            raise ReleaseError(
                source, "expected a directory with the bot's code" if source.exists() else "not there"
            )
        if source.resolve() == self.directory.parent:
            raise ReleaseError(source, "is the home itself: keep the bot's code and its home apart")
        if bot:
            _check_bot(source, bot)
        # An exported commit, and a release made of a release, are within the home, which git does not track.
        working = note is None and not source.resolve().is_relative_to(self.directory)
        try:
            ignore = Ignore.of(source, ask_git=working)
            leave_out = {self.directory, self.directory.parent, *(path.resolve() for path in leave_out)}
            need(self.directory, size_of(source, leave_out, ignore), "a release")
            with self.workspace() as building:
                copied = self._copy(source, building, leave_out, ignore)
                if bot:
                    _check_copied(building, bot, copied)
                for line in _remarks(building, copied):
                    warn(line)
                return self._publish(building, copied, note, origin or source)
        except IgnoreError as problem:
            raise ReleaseError(source, problem.message) from None
        except OSError as problem:
            if not self.directory.is_dir():
                raise ReleaseError(
                    self.directory,
                    "is not there, so nothing can be deployed. If the home was moved, move it back; one that was "
                    "removed is made again within seconds",
                ) from None
            raise ReleaseError(source, f"can't be copied: {problem.strerror}: {problem.filename}") from None

    @contextlib.contextmanager
    def workspace(self) -> Generator[Path]:
        """A path beside the releases for work in progress. Its contents are removed afterwards, or after a crash."""
        with self._lock:
            self._sweep()
            self._made += 1
            name = f"{_NEW}{os.getpid()}-{self._made}"
            self._making.add(name)
        place = self.directory / name
        try:
            yield place
        finally:
            _remove(place)
            with self._lock:
                self._making.discard(name)

    def sweep(self) -> None:
        """Remove the unfinished work of killed processes."""
        with self._lock:
            self._sweep()

    def list(self) -> list[Release]:
        """Every release, newest first; none while the home is missing."""
        try:
            entries = [*self.directory.iterdir()]
        except FileNotFoundError:
            entries = []
        found = [release for entry in entries if (release := self._read(entry))]
        return sorted(found, key=lambda release: (release.made_at, release.id), reverse=True)

    def get(self, id: str) -> Release:
        """The release with exactly this id. Raises `NoSuchRelease`."""
        release = self._read(self.directory / id) if _is_id(id) else None
        if release is None:
            raise NoSuchRelease(self.directory, id, [known.id for known in self.list()])
        return release

    def find(self, name: str) -> Release:
        """The release called `name`: an id, a digest or a commit, or the beginning of one; "current" or "previous".

        Raises `NoSuchRelease` or `AmbiguousRelease`.
        """
        linked = {"current": self.current, "previous": self.previous}.get(name)
        if linked:
            name = linked() or name
        known = self.list()
        exact = [release for release in known if release.id == name]
        matches = exact or [
            release
            for release in known
            if name and any(key.startswith(name) for key in (release.id, release.digest, release.commit))
        ]
        if len(matches) > 1:
            raise AmbiguousRelease(self.directory, name, [release.id for release in matches])
        if not matches:
            raise NoSuchRelease(self.directory, name, [release.id for release in known])
        return matches[0]

    def restore(
        self,
        id: str,
        source: Path,
        bot: str,
        note: CommitNote | None,
        origin: Path,
        known: Release | None,
    ) -> bool:
        """Make the damaged release `id` again from `source`; return whether that is the code it was made of.

        `known` is its manifest, None when that is lost too: then `source` must be its commit, or a directory whose
        digest begins as the id says. Raises `ReleaseError` and `DiskFull`.
        """
        working = note is None
        ignore = Ignore.of(source, ask_git=working)
        path = self.directory / id
        try:
            need(
                self.directory, size_of(source, {self.directory, self.directory.parent}, ignore), "a release"
            )
            with self.workspace() as building:
                copied = self._copy(source, building, {self.directory, self.directory.parent}, ignore)
                if known is not None and copied.digest != known.digest:
                    return False
                if known is None and working and f"-{copied.digest[:_SHOWN]}" not in id:
                    return False
                if bot:
                    _check_bot(building, bot)
                made_at = known.made_at if known is not None else self._clock()
                self._seal(building, copied, note, origin, made_at)
                with self._lock:
                    if path.exists():
                        path.rename(self.directory / f"{_OLD}{id}")
                    building.rename(path)
                    sync_directory(self.directory)
                    self._sweep()
        except IgnoreError as problem:
            raise ReleaseError(source, problem.message) from None
        except OSError as problem:
            raise ReleaseError(source, f"can't be copied: {problem.strerror}: {problem.filename}") from None
        return True

    def digest_of(self, source: Path) -> str:
        """The digest that a release of the directory `source` would have. Raises `ReleaseError`."""
        try:
            return digest_of(source.resolve(), {self.directory, self.directory.parent}, Ignore.of(source))
        except IgnoreError as problem:
            raise ReleaseError(source, problem.message) from None
        except OSError as problem:
            raise ReleaseError(source, f"can't be read: {problem.strerror}: {problem.filename}") from None

    def has_led(self, id: str) -> bool:
        """Whether the release has ever led, by earlier calls of `promote`."""
        return (self.directory / _LED / id).exists() or (self.directory / id / LED).exists()

    def intact(self, release: Release) -> bool:
        """Whether the release's files are unchanged, which a power loss can have damaged."""
        try:
            return digest_of(release.path) == release.digest
        except OSError:
            return False

    def current(self) -> str | None:
        """The id of the release that leads, by earlier calls of `promote`."""
        return self._linked("current")

    def previous(self) -> str | None:
        """The id of the release that led before."""
        return self._linked("previous")

    def promote(self, id: str) -> None:
        """Record that the release leads now; the one before becomes `previous`. Raises `NoSuchRelease`."""
        self.get(id)
        led = self.directory / _LED
        led.mkdir(0o700, exist_ok=True)
        (led / id).touch(0o600)
        before = self.current()
        if before == id:
            return
        if before is not None:
            self._link("previous", before)
        self._link("current", id)

    def prune(self, keep: int, in_use: Collection[str] = ()) -> list[str]:
        """Remove all but the newest `keep` releases that have led, oldest first; return the ids.

        As many releases that never led are kept too: failed ones, and those that were only rehearsed. Never removes a
        release in use, the current one or the previous one.
        """
        safe = {*in_use, self.current(), self.previous()}
        kept: list[Release] = []
        idle: list[Release] = []
        for release in self.list():
            (kept if self.has_led(release.id) else idle).append(release)
        old = {release.id for release in (*kept[keep:], *idle[keep:])} - safe
        gone = [release for release in self.list() if release.id in old]
        for release in reversed(gone):
            self.remove(release)
        return [release.id for release in reversed(gone)]

    def remove(self, release: Release) -> None:
        """Remove a release that nothing uses. Raises `OSError`."""
        # Rename it first, so that no half-removed release can be started.
        leaving = self.directory / f"{_OLD}{release.id}"
        # Making a release meanwhile would sweep away the half-removed one.
        with self._lock:
            release.path.rename(leaving)
            _remove(leaving)
            (self.directory / _LED / release.id).unlink(missing_ok=True)

    def _copy(self, source: Path, building: Path, leave_out: Collection[Path], ignore: Ignore) -> CopiedTree:
        _remove(building)
        try:
            return copy_tree(source, building, leave_out, ignore=ignore)
        except TreeError as problem:
            raise ReleaseError(source, problem.message) from None

    def _publish(self, building: Path, copied: CopiedTree, note: CommitNote | None, origin: Path) -> Release:
        manifest = self._seal(building, copied, note, origin, self._clock())
        stamp = datetime.fromtimestamp(manifest.made_at // 1_000_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")
        path = self.directory / f"{stamp}-{(manifest.commit or manifest.digest)[:_SHOWN]}"
        with self._lock:
            there = self._read(path)
            if there is not None and there.digest == manifest.digest:
                return there
            if there is not None:
                # Two directories of one commit, in one second.
                path = path.with_name(f"{path.name}-{manifest.digest[:_SHOWN]}")
            building.rename(path)
            sync_directory(self.directory)
        return _release(path, manifest)

    def _seal(
        self, building: Path, copied: CopiedTree, note: CommitNote | None, origin: Path, made_at: int
    ) -> _Manifest:
        """Write the manifest, and force all of the release to the disk before it gets its name."""
        came_from = os.fsencode(origin).decode(errors="replace")
        git = msgspec.structs.asdict(note) if note is not None else {}
        manifest = _Manifest(made_at, copied.digest, came_from, copied.files, copied.bytes, **git)
        file = building / MANIFEST
        file.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        file.chmod(0o400)
        building.chmod(0o500)
        sync_tree(building)
        return manifest

    def _read(self, path: Path) -> Release | None:
        if not _is_id(path.name) or path.is_symlink():
            return None
        try:
            return _release(path, msgspec.json.decode((path / MANIFEST).read_bytes(), type=_Manifest))
        except (OSError, *UNDECODABLE):
            return None

    def _linked(self, name: str) -> str | None:
        try:
            return Path(os.readlink(self.directory / name)).name
        except OSError:
            return None

    def _link(self, name: str, id: str) -> None:
        fresh = self.directory / f"{_NEW}{name}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(id)
        fresh.replace(self.directory / name)
        sync_directory(self.directory)

    def _sweep(self) -> None:
        for entry in self.directory.iterdir():
            if entry.name.startswith((_NEW, _OLD)) and entry.name not in self._making:
                _remove(entry)


def _release(path: Path, manifest: _Manifest) -> Release:
    return Release(path.name, path, **msgspec.structs.asdict(manifest))


def _is_id(name: str) -> bool:
    return bool(name) and not name.startswith(".") and "/" not in name


def _check_bot(source: Path, bot: str) -> None:
    module = bot.partition(":")[0].split(".")
    if any(_is_at(root, module) for root in (source, source / SOURCES)):
        return
    file = "/".join(module) + ".py"
    raise ReleaseError(
        source,
        f'no {file} here nor in {SOURCES}/, which bot = "{bot}" asks for: is it the right directory?',
    )


def _is_at(root: Path, parts: list[str]) -> bool:
    place = root.joinpath(*parts)
    return place.is_dir() or place.with_name(f"{place.name}.py").is_file()


def _check_copied(release: Path, bot: str, copied: CopiedTree) -> None:
    """Raise `ReleaseError` when the rules exclude the bot itself."""
    parts = bot.partition(":")[0].split(".")
    names = {f"{'/'.join(parts)}.py", *(f"{'/'.join(parts[:end])}/" for end in range(1, len(parts) + 1))}
    names |= {f"{SOURCES}/", *(f"{SOURCES}/{name}" for name in names)}
    for left in copied.left_out:
        if left.name == f"{SOURCES}/" and _is_at(release, parts):
            continue
        if left.name in names and not (release / left.name).exists():
            raise ReleaseError(
                release,
                f'{left.name} is kept out of releases by {_rule_text(left.rule)}, and bot = "{bot}" needs it',
            )


def _remarks(release: Path, copied: CopiedTree) -> Iterator[str]:
    """Lines on a new release that a person should see."""
    built_in = [left.name for left in copied.left_out if left.rule.built_in]
    if built_in:
        yield (
            f"not in the release: {_named(built_in)}. Secrets belong in env_file, the bot's own files in "
            f"NEVERBLINK_DATA. To have a file in the release, write !{built_in[0]} into {FILE_NAME}"
        )
    large = [f"{name} ({size.show(bytes)})" for name, bytes in copied.large]
    if large:
        yield f"large files in the release: {_named(large)}. If they are data, name them in {FILE_NAME}"
    secret = [f"{name}: {why}" for name, why in copied.secrets]
    if secret:
        yield (
            f"this looks like a secret, and is in the release: {_named(secret)}. Keep it in env_file or outside of the "
            f"project, or name it in {FILE_NAME}"
        )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def _rule_text(rule: IgnoreRule) -> str:
    return f"{rule.source} ({rule.pattern})" if rule.pattern else rule.source


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        remove_tree(path)
