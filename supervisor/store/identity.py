"""The identity of a home: a random id, recorded with the directory that it was given to.

A copied directory (`cp -a`, a restored backup, a cloned disk) has another inode than its record says. So a copy is
recognised, gets its own id, and is reported. Nothing else depends on it: only its open files decide to which home a
worker belongs (see `system.open_files`).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec

from ...protocol.wire import UNDECODABLE
from ..system.disk import rename_durably
from .state_dir import Home

__all__ = ["Identity", "id_of", "keep", "recognise"]

_LARGEST = 4096
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Identity(msgspec.Struct, frozen=True):
    """A home's id, and the directory that has it. `copy_of` is the id of the home that it was copied from."""

    id: str
    device: int
    inode: int
    boot: str = ""
    """The boot in which it was last seen: device numbers change with a boot."""
    copy_of: str = ""


def recognise(home: Home) -> tuple[Identity, bool]:
    """Return the home's identity, and whether it was just found to be a copy. The caller owns the home.

    Raises `OSError` when the record can't be written.
    """
    found = home.path.stat()
    boot = _boot()
    record = _read(home.identity)
    here = Identity(secrets.token_hex(8), found.st_dev, found.st_ino, boot)
    if record is None:
        _write(home.identity, here)
        return here, False
    same_directory = record.inode == found.st_ino and (
        record.device == found.st_dev or (record.boot != boot and boot != "")
    )
    if not same_directory:
        copy = msgspec.structs.replace(here, copy_of=record.id)
        _write(home.identity, copy)
        return copy, True
    if (record.device, record.boot) != (found.st_dev, boot):
        record = msgspec.structs.replace(record, device=found.st_dev, boot=boot)
        _write(home.identity, record)
    return record, False


def id_of(home: Home) -> str:
    """The id of the home, "" when it has none yet."""
    record = _read(home.identity)
    return record.id if record is not None else ""


def keep(home: Home, identity: Identity) -> bool:
    """Write the identity again if it is gone, because the home was restored; return whether it was.

    Raises `OSError`.
    """
    if id_of(home) == identity.id:
        return False
    found = home.path.stat()
    _write(home.identity, msgspec.structs.replace(identity, device=found.st_dev, inode=found.st_ino))
    return True


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _read(path: Path) -> Identity | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return msgspec.json.decode(os.read(file, _LARGEST), type=Identity)
    except (OSError, *UNDECODABLE):
        return None
    finally:
        os.close(file)


def _write(path: Path, identity: Identity) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(file, msgspec.json.encode(identity) + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    rename_durably(new, path)
