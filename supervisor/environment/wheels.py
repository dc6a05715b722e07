"""Wheels made from this installation: a bot's environment gets a worker that speaks our protocol, without a network.

Our wheel has the worker and nothing of the supervisor. It is packed from the files that run, also from a checkout or an
editable install. Its version contains a hash of the contents, and is the same for the same files. The worker's
dependencies are packed as they are installed beside us. They fit an environment with a Python like ours; for another
Python they come from an index.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import msgspec

from ... import protocol
from ...protocol.errors import NeverblinkError

__all__ = ["DISTRIBUTION", "WheelSupply", "fingerprint", "supply"]

DISTRIBUTION = "neverblink"
_ROOMS = ("protocol", "worker")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_NOT_TO_PACK = frozenset({"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"})


class WheelSupply(msgspec.Struct, frozen=True):
    """Wheels in `directory`: `wheel` is our own."""

    directory: Path
    wheel: Path


def fingerprint() -> str:
    """A short hash of our wheel: of the contents of the files that run, and of their dependencies."""
    digest = hashlib.sha256()
    for name, path in _own_files():
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    for line in _about():
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:12]


def supply(place: Path) -> WheelSupply:
    """The wheels in a directory of `place`, made if needed. Raises `OSError` and `NeverblinkError`."""
    directory = place / fingerprint()
    wheel = directory / f"{DISTRIBUTION}-{_version()}-py3-none-any.whl"
    if not wheel.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        for name in _dependencies():
            _pack_installed(re.split(r"[\s<>=!~;\[(]", name, maxsplit=1)[0], directory)
        # Last: its presence means that the others are complete, as far as possible.
        _pack(wheel, _own_contents(), DISTRIBUTION, _version(), "\n".join(_about()), _WHEEL)
    return WheelSupply(directory, wheel)


_WHEEL = "Wheel-Version: 1.0\nGenerator: neverblink\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _version() -> str:
    return f"{_distribution().version}+h{fingerprint()}"


def _distribution() -> metadata.Distribution:
    try:
        return metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise NeverblinkError(
            "neverblink itself is not installed here, so it can't be given to a bot's environment: install it with pip"
        ) from None


def _dependencies() -> list[str]:
    return sorted(line for line in _distribution().requires or () if "extra" not in line)


def _about() -> list[str]:
    """The metadata without the version, which is computed from it."""
    fields = _distribution().metadata
    return [
        *(
            f"{key}: {fields[key]}"
            for key in ("Summary", "Requires-Python", "License-Expression")
            if fields[key]
        ),
        *(f"Requires-Dist: {line}" for line in _dependencies()),
    ]


def _own_files() -> Iterable[tuple[str, Path]]:
    top = Path(protocol.__file__).parent.parent
    for room in _ROOMS:
        # The rooms are beside each other: in an installation under one name, in a checkout at its top.
        for path in sorted((top / room).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{DISTRIBUTION}/{room}/{path.relative_to(top / room)}", path


def _own_contents() -> Iterable[tuple[str, bytes]]:
    return ((name, path.read_bytes()) for name, path in _own_files())


def _pack_installed(name: str, directory: Path) -> None:
    """Pack an installed distribution as a wheel. Does nothing when it was not installed from one."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return
    wheel, about = found.read_text("WHEEL"), found.read_text("METADATA")
    if not wheel or not about or not found.files:
        return
    tags = [
        line.partition(":")[2].strip().split("-") for line in wheel.splitlines() if line.startswith("Tag:")
    ]
    parts = (".".join(dict.fromkeys(column)) for column in zip(*tags, strict=True))
    called = found.metadata["Name"].replace("-", "_")
    contents: list[tuple[str, bytes]] = []
    for file in found.files:
        inside = ".." not in file.parts and "__pycache__" not in file.parts
        if (
            inside
            and file.name not in _NOT_TO_PACK
            and not str(file).endswith((".dist-info/WHEEL", "/METADATA"))
        ):
            try:
                contents.append((str(file), Path(str(file.locate())).read_bytes()))
            except OSError:
                return
    target = directory / f"{called}-{found.version}-{'-'.join(parts)}.whl"
    _pack(target, contents, called, found.version, about, wheel, whole=True)


def _pack(
    target: Path,
    contents: Iterable[tuple[str, bytes]],
    name: str,
    version: str,
    about: str,
    wheel: str,
    *,
    whole: bool = False,
) -> None:
    """Write a wheel; `whole`: `about` is the complete metadata, with name and version."""
    info = f"{name}-{version}.dist-info"
    text = about if whole else f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{about}\n"
    record: list[str] = []
    half = target.with_name(f".{target.name}.{os.getpid()}")
    with zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path, data in (*contents, (f"{info}/METADATA", text.encode()), (f"{info}/WHEEL", wheel.encode())):
            sha = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={sha},{len(data)}\n")
            _write(archive, path, data)
        record.append(f"{info}/RECORD,,\n")
        _write(archive, f"{info}/RECORD", "".join(record).encode())
    half.replace(target)


def _write(archive: zipfile.ZipFile, path: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(path, _EPOCH)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)
