"""The home: the one directory in which a bot's supervisor and workers keep what they share, and its only owner.

    .neverblink/            beside the configuration, or NEVERBLINK_HOME
        lease               which worker may tick (used by workers only)
        journal/            the stream of frames
        run/                sockets, for this user alone
        releases/           immutable code
        environments/       Python environments of releases
        logs/               one file for each worker
        feeds/              one file for each feed: which process is it, and where it stands
        data/               the bot's own files, kept across releases: NEVERBLINK_DATA
        supervisor.db       history
        key                 the secret of the supervisors: see `sockets.worker_keys`
        keys/               clients that may connect over TCP: see `sockets.client_keys`
        repositories/       links to repositories whose pushes deploy here: see `release.hooked_repositories`
        tokens              tokens for HTTP: see `web.tokens`
        lock                held by the `up` that runs
        identity            a random id, and the directory that has it: see `store.identity`

One supervisor owns a home. It holds a kernel lock on `lock` as long as its process lives, so a killed supervisor leaves
no lock to remove. The lock belongs to the open file, not to the process as the lease's does: many parts of a supervisor
check who owns the home, and closing the file there must not release the lock. (A supervisor never runs user code in a
fork of its own.)

The contents of the file are for people and for the next supervisor: a record that was not cleared means that the last
run was killed, and that its workers may be alive.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Mapping
from pathlib import Path
from socket import socket
from types import TracebackType

import msgspec

from ...protocol.endpoint import endpoint
from ...protocol.errors import NeverblinkError
from ...protocol.lease import lock_owner, lock_query
from ...protocol.wire import UNDECODABLE
from ..system.account import expanded
from ..system.permissions import NotOurs, close_to_others
from ..system.presence import mark_supervisor
from ..system.process import started_at

__all__ = [
    "DIRECTORY",
    "VARIABLE",
    "Home",
    "HomeBusy",
    "HomeClaim",
    "HomeError",
    "Owner",
    "Sockets",
    "home_path",
]

DIRECTORY = ".neverblink"
VARIABLE = "NEVERBLINK_HOME"
_LARGEST_RECORD = 4096


class HomeError(NeverblinkError):
    """The directory `path` can't be a home."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"home {path}: {problem}")
        self.path = path


class HomeBusy(HomeError):
    """A supervisor owns the home; `pid` is its process, 0 while it is just starting."""

    def __init__(self, path: Path, pid: int) -> None:
        who = f"pid {pid}" if pid else "a supervisor that is just starting"
        super().__init__(
            path,
            f"already running: {who}. `neverblink status` shows the bot, `neverblink deploy .` hands it over to new "
            "code, and `neverblink up --replace` puts a new supervisor in its place. None of them stops the bot",
        )
        self.pid = pid


class Owner(msgspec.Struct, frozen=True):
    """A supervisor's process. Pid and start time together identify it until the next boot."""

    pid: int
    started: int
    """Field 22 of /proc/PID/stat: clock ticks since boot."""
    bot: str = ""


def home_path(project: Path, environment: Mapping[str, str]) -> Path:
    """Where the home of the bot in `project` is: NEVERBLINK_HOME, or .neverblink beside its configuration."""
    configured = environment.get(VARIABLE, "")
    return expanded(Path(configured)).absolute() if configured else project.absolute() / DIRECTORY


class Home:
    """The paths of a home. `Home(path)` computes them; `Home.open` makes the directories."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.lease = self.path / "lease"
        self.journal = self.path / "journal"
        self.run = self.path / "run"
        self.releases = self.path / "releases"
        self.environments = self.path / "environments"
        self.logs = self.path / "logs"
        self.data = self.path / "data"
        self.feeds = self.path / "feeds"
        self.database = self.path / "supervisor.db"
        self.lock = self.path / "lock"
        self.key = self.path / "key"
        self.keys = self.path / "keys"
        self.repositories = self.path / "repositories"
        self.tokens = self.path / "tokens"
        self.identity = self.path / "identity"

    @property
    def private(self) -> list[Path]:
        """Paths that third-party code must not open: keys and tokens, sockets, journal, history, logs and data."""
        history = [self.database.with_name(f"{self.database.name}{end}") for end in ("", "-wal", "-shm")]
        ways_in = [self.key, self.keys, self.tokens, self.run]
        return [*ways_in, self.journal, self.logs, self.data, self.feeds, *history]

    @classmethod
    def open(cls, path: Path) -> Home:
        """The home at `path`, made if needed, and accessible to this user only. Raises `HomeError`."""
        home = cls(path)
        try:
            home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # First: it may be a directory that other users can write to. The files of an environment are links into
            # uv's cache and have its modes; other users cannot reach them.
            close_to_others(home.path, but_not_in=home.environments)
            for directory in (home.journal, home.run, home.releases, home.environments, home.logs):
                directory.mkdir(mode=0o700, exist_ok=True)
                if directory.is_symlink():
                    # A journal may be on another disk.
                    close_to_others(directory)
        except NotOurs as problem:
            raise HomeError(home.path, problem.message) from None
        except (FileExistsError, NotADirectoryError) as problem:
            inside = Path(problem.filename or home.path)
            what = inside.name if inside.parent == home.path else "it"
            raise HomeError(
                home.path, f"{what} is not a directory: move what is there away, or name another home"
            ) from None
        except OSError as problem:
            raise HomeError(
                home.path, f"can't be made ({problem.strerror}): name another with {VARIABLE}"
            ) from None
        return home

    def claim(self, bot: str = "") -> HomeClaim:
        """Own the home until the claim is dropped or this process ends. Raises `HomeBusy` when it has an owner."""
        # First: when two supervisors begin at once, at least one sees the other.
        mark = mark_supervisor(self.path)
        try:
            file, left_by = self.locked(bot)
            return HomeClaim(file, bot, left_by, mark)
        except BaseException:
            if mark is not None:
                mark.close()
            raise

    def locked(self, bot: str) -> tuple[int, Owner | None]:
        """Take the lock; return its file and the previous owner. Raises `HomeBusy` and `HomeError`."""
        file = self._open_lock(os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock_query())
            except (BlockingIOError, PermissionError):
                raise HomeBusy(self.path, (_record(file) or _NOBODY).pid) from None
            if not self.holds(file):
                raise HomeError(
                    self.path, f"{self.lock.name} was removed while it was being locked: try again"
                )
            left_by = _record(file)
            _write_record(file, Owner(os.getpid(), started_at(os.getpid()) or 0, bot))
        except OSError as problem:
            os.close(file)
            raise HomeError(self.path, f"can't be locked: {problem.strerror}") from None
        except BaseException:
            os.close(file)
            raise
        return file, left_by

    def holds(self, file: int) -> bool:
        """Whether the open file is this home's current lock, not one that was removed or replaced."""
        try:
            return os.path.samestat(os.fstat(file), os.lstat(self.lock))
        except OSError:
            return False

    def wait_until_free(self, within: float) -> None:
        """Wait, at most `within` seconds, until no supervisor owns the home. Raises `HomeBusy`."""
        until = time.monotonic() + within
        while (owner := self.owner()) is not None:
            if time.monotonic() > until:
                raise HomeBusy(self.path, owner.pid)
            # The kernel can't notify a process that does not lock. A claim ends milliseconds after the last answer.
            time.sleep(0.005)

    def owner(self) -> Owner | None:
        """The supervisor that owns the home now, None for none. Its pid is 0 while it is just starting."""
        try:
            file = self._open_lock(os.O_RDONLY)
        except HomeError:
            return None
        try:
            if lock_owner(fcntl.fcntl(file, fcntl.F_OFD_GETLK, lock_query())) is None:
                return None
            return _record(file) or _NOBODY
        finally:
            os.close(file)

    def sockets(self) -> Sockets:
        """The addresses in `run/`."""
        return Sockets(self.run)

    def _open_lock(self, how: int) -> int:
        try:
            return os.open(self.lock, how | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as problem:
            raise HomeError(self.path, f"{self.lock.name} can't be opened: {problem.strerror}") from None


class HomeClaim:
    """Ownership of a home, until `drop`, the end of its `with`, or the end of the process."""

    def __init__(self, file: int, bot: str, left_by: Owner | None, mark: socket | None) -> None:
        self._file = file
        self._bot = bot
        self._mark = mark
        self.left_by = left_by
        """The previous owner if it was killed: its workers may be alive."""

    def renew(self, home: Home) -> bool:
        """Lock the home again if its lock file was removed; return whether it was.

        Raises `HomeBusy` and `HomeError`.
        """
        if self._file < 0 or home.holds(self._file):
            return False
        before, self._file = self._file, home.locked(self._bot)[0]
        os.close(before)
        return True

    def drop(self) -> None:
        """Release the home and clear the record. May be called again."""
        if self._mark is not None:
            # First: a marked supervisor without its lock looks like one whose home was removed.
            self._mark.close()
            self._mark = None
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> HomeClaim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()


class Sockets:
    """Addresses of the sockets in a directory with a path of any length. Keep it open while they are in use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._descriptor = -1

    def endpoint(self, name: str) -> str:
        """The ZeroMQ endpoint of the socket `name`. Raises `EndpointError` and `HomeError`."""
        return endpoint(str(self.directory), name, self._open)

    def refresh(self) -> None:
        """Forget the directory's descriptor: it was removed and made again."""
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Sockets:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, directory: str) -> int:
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as problem:
                raise HomeError(
                    Path(directory), f"can't be opened: {problem.strerror}: is the supervisor running?"
                ) from None
        return self._descriptor


_NOBODY = Owner(0, 0)


def _record(file: int) -> Owner | None:
    try:
        return msgspec.json.decode(os.pread(file, _LARGEST_RECORD, 0), type=Owner)
    except UNDECODABLE:
        # It is empty after a clean end, and cut off after a full disk. Nothing depends on it.
        return None


def _write_record(file: int, owner: Owner) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, msgspec.json.encode(owner) + b"\n", 0)
