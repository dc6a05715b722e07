"""The release is the worker's current directory and read-only. A bot writes files into the data directory.

Each deployment makes a new copy of the code, so a file written beside the code would be lost with the next deployment.
The directories of a release are read-only, which does not restrict root. For root the worker remounts the release
read-only in its own mount namespace, which child processes inherit and which ends with them; the directories for
Python's compiled files stay writable.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ..model.encode_errors import reason_of

__all__ = ["DATA", "data_directory", "describe", "make_read_only"]

DATA = "NEVERBLINK_DATA"
MANIFEST = ".release.json"

_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 1, 32, 4096, 16384, 1 << 19
_COMPILED = "__pycache__"
_MOST_COMPILED = 500
"""How many directories of compiled files stay writable: each is a mount, which takes time at the start."""
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_SQLITE_READONLY, _SQLITE_CANTOPEN = 8, 14
_MEND = (
    f'a release is read-only, because the next deployment replaces it: keep the file in os.environ["{DATA}"], '
    "which all releases of this bot share"
)


def data_directory() -> Path:
    """The directory for a bot's own files, such as a database: the same for every release.

    Under a supervisor it is NEVERBLINK_DATA, by default `data` in the home; for a bot that runs alone it is
    `.neverblink/data` in the current directory. It is created if missing.

        self.db = sqlite3.connect(data_directory() / "trades.db")
    """
    place = Path(os.environ.get(DATA) or ".neverblink/data").absolute()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def make_read_only(directory: Path, written: Path) -> str:
    """Make the release in `directory`, the current directory, read-only for this process; return why it failed, or "".

    Only needed for root; does nothing if `directory` is not a release. `written` is the directory that the process
    itself writes to. Call it before any thread is started.
    """
    if os.geteuid() != 0 or not (directory / MANIFEST).is_file():
        return ""
    try:
        if os.statvfs(written).f_flag & os.ST_RDONLY:
            # The namespace would keep it read-only for this process, even after an administrator has remounted it.
            return f"{written} is on a read-only file system now"
    except OSError:
        # A missing directory is reported elsewhere.
        pass
    place = os.fsencode(directory)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _checked(libc.unshare(_CLONE_NEWNS))
        _checked(libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None))
        _checked(libc.mount(place, place, None, _MS_BIND, None))
        for compiled in _compiled(directory):
            _checked(libc.mount(compiled, compiled, None, _MS_BIND, None))
        _checked(libc.mount(None, place, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY, None))
    except OSError as problem:
        return problem.strerror or str(problem)
    # The current directory is still the one below the mount.
    os.chdir(directory)
    return ""


def describe(problem: BaseException) -> str:
    """An exception as one line, with the mend if it was caused by writing into a release."""
    text = reason_of(problem)
    seen: BaseException | None = problem
    while seen is not None:
        if _writes_into_release(seen):
            return f"{text}: {_MEND}"
        seen = seen.__cause__ or seen.__context__
    return text


def _writes_into_release(problem: BaseException) -> bool:
    code = getattr(problem, "sqlite_errorcode", None)
    if isinstance(code, int):
        # SQLite does not name the file. A relative path leads into the release.
        return code & 0xFF in (_SQLITE_READONLY, _SQLITE_CANTOPEN) and _is_release(Path.cwd())
    if not isinstance(problem, OSError) or problem.errno not in _REFUSED:
        return False
    names = [name for name in (problem.filename, problem.filename2) if isinstance(name, (str, bytes))]
    return any(_is_release(Path(os.fsdecode(name)).absolute().parent) for name in names)


def _is_release(directory: Path) -> bool:
    return any((place / MANIFEST).is_file() for place in (directory, *directory.parents))


def _compiled(directory: Path) -> Iterator[bytes]:
    count = 0
    for place, directories, _ in os.walk(directory):
        if _COMPILED in directories and count < _MOST_COMPILED:
            count += 1
            yield os.fsencode(os.path.join(place, _COMPILED))
        directories[:] = [name for name in directories if name != _COMPILED]


def _checked(status: int) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
