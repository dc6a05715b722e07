"""The home: the one directory in which a bot's supervisor and workers keep what they share, and its only owner.

    .neverblink/            beside the configuration, or NEVERBLINK_HOME
        lease               who may tick (the workers' own)
        journal/            the stream of frames
        run/                sockets, for this user alone
        releases/           immutable code
        environments/       what it runs with
        logs/               one file a worker
        data/               the bot's own files, kept across releases: NEVERBLINK_DATA
        supervisor.db       history
        key                 the secret of the supervisors: see `sockets.worker_keys`
        keys/               clients that may connect over TCP: see `sockets.client_keys`
        repositories/       links to those whose pushes deploy here: see `release.hooked_repositories`
        tokens              tokens for HTTP: see `web.tokens`
        lock                held by the `up` that runs
        identity            a random id, and the directory it was given to: see `store.identity`

One supervisor owns a home, and the kernel says which: it holds a lock on `lock` for as long as its process lives, so a
killed one leaves no lock that has to be removed. The lock belongs to the open file and not, as the lease's does,
to the process: a supervisor starts programs and never runs user code in a fork of its own, while its many parts may ask
who owns the home, and closing the file must not cost it the lock.

The contents of the file are for people and for the next supervisor: a record that was not wiped means that the last run
was killed, and that its workers may still be there.
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
    """A supervisor owns the home; `pid` is its process, 0 when it has not said so yet."""

    def __init__(self, path: Path, pid: int) -> None:
        who = f"pid {pid}" if pid else "a supervisor that is just starting"
        super().__init__(
            path,
            f"already running: {who}. `neverblink status` shows the bot, `neverblink deploy .` hands it over to new "
            "code, and `neverblink up --replace` puts a new supervisor in its place. None of them stops the bot",
        )
        self.pid = pid


class Owner(msgspec.Struct, frozen=True):
    """A supervisor's process: pid and start time together are one process for as long as the host is up."""

    pid: int
    started: int
    """Field 22 of /proc/PID/stat: clock ticks since boot."""
    bot: str = ""


def home_path(project: Path, environment: Mapping[str, str]) -> Path:
    """Where the home of the bot in `project` is: NEVERBLINK_HOME, or .neverblink beside its configuration."""
    said = environment.get(VARIABLE, "")
    return expanded(Path(said)).absolute() if said else project.absolute() / DIRECTORY


class Home:
    """The paths of a home. `Home(path)` only names them; `Home.open` makes them."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.lease = self.path / "lease"
        self.journal = self.path / "journal"
        self.run = self.path / "run"
        self.releases = self.path / "releases"
        self.environments = self.path / "environments"
        self.logs = self.path / "logs"
        self.data = self.path / "data"
        self.database = self.path / "supervisor.db"
        self.lock = self.path / "lock"
        self.key = self.path / "key"
        self.keys = self.path / "keys"
        self.repositories = self.path / "repositories"
        self.tokens = self.path / "tokens"
        self.identity = self.path / "identity"

    @property
    def private(self) -> list[Path]:
        """What the code of others must not open: keys and tokens, sockets, the journal, history, logs and data."""
        history = [self.database.with_name(f"{self.database.name}{end}") for end in ("", "-wal", "-shm")]
        ways_in = [self.key, self.keys, self.tokens, self.run]
        return [*ways_in, self.journal, self.logs, self.data, *history]

    @classmethod
    def open(cls, path: Path) -> Home:
        """The home at `path`, made if it isn't there, and closed to everybody but this user. Raises `HomeError`."""
        home = cls(path)
        try:
            home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Before anything is put into it: it may be a directory that others can write to.
            # An environment's files are links into uv's cache, and have its modes; other users cannot reach them.
            close_to_others(home.path, but_not_in=home.environments)
            for directory in (home.journal, home.run, home.releases, home.environments, home.logs):
                directory.mkdir(mode=0o700, exist_ok=True)
                if directory.is_symlink():
                    # A journal may lie on a disk of its own.
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
        """Become the home's owner until the claim is dropped or this process ends; raise `HomeBusy` when it has one."""
        # Before anything is looked at: of two that begin at once, at least one sees the other.
        mark = mark_supervisor(self.path)
        try:
            file, left_by = self.locked(bot)
            return HomeClaim(file, bot, left_by, mark)
        except BaseException:
            if mark is not None:
                mark.close()
            raise

    def locked(self, bot: str) -> tuple[int, Owner | None]:
        """The lock, taken, and the owner that it says had it before. Raises `HomeBusy` and `HomeError`."""
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
        """Whether the open file is the lock that is in this home now, and not one that was removed or replaced."""
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
            # The kernel does not notify a process that only looks; a claim ends milliseconds after the last answer.
            time.sleep(0.005)

    def owner(self) -> Owner | None:
        """The supervisor that owns the home now, None when there is none. Its pid is 0 while it is just starting."""
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
    """Ownership of a home; let go by `drop`, by leaving its `with`, or by the end of the process."""

    def __init__(self, file: int, bot: str, left_by: Owner | None, mark: socket | None) -> None:
        self._file = file
        self._bot = bot
        self._mark = mark
        self.left_by = left_by
        """The owner before, if it ended without dropping its claim: killed, and its workers may be alive."""

    def renew(self, home: Home) -> bool:
        """Lock the home again if its lock was removed; return whether it was. Raises `HomeBusy` and `HomeError`."""
        if self._file < 0 or home.holds(self._file):
            return False
        before, self._file = self._file, home.locked(self._bot)[0]
        os.close(before)
        return True

    def drop(self) -> None:
        """Give the home up in good order. Harmless when it was done before."""
        if self._mark is not None:
            # First: a supervisor without its lock is taken for one whose home was removed.
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
    """Addresses of the sockets in a directory, however long its path. Stays open as long as they are in use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._descriptor = -1

    def endpoint(self, name: str) -> str:
        """The ZeroMQ endpoint of the socket `name`. Raises `EndpointError` and `HomeError`."""
        return endpoint(str(self.directory), name, self._open)

    def refresh(self) -> None:
        """The directory may be another one than it was: it was removed and made again."""
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
        # Empty after a run that ended well, half a line after a full disk: nothing depends on it.
        return None


def _write_record(file: int, owner: Owner) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, msgspec.json.encode(owner) + b"\n", 0)
