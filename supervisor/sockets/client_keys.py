"""The clients that may connect over TCP: the server's key pair, and the public keys of its clients.

    keys/
        server              the secret half of the server's key pair
        clients/NAME        the public half of a client's

Keys are 32 bytes, written as 64 hexadecimal digits. Files appear and disappear atomically, so a supervisor that reads
them every second never sees an incomplete one. A client has its own key file, which also has the server's public key:
it connects to that server only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import msgspec
import zmq
from zmq.utils import z85

from ...protocol.errors import NeverblinkError
from ...protocol.keys import NO_CURVE, SIZE
from ..system.disk import rename_durably
from ..system.text import NAME_RULE, is_valid_name
from .worker_keys import public_of

__all__ = ["AccessError", "ClientKey", "ClientKeys", "client_keys", "key_of", "new_secret"]


class AccessError(NeverblinkError):
    """A key, or a key file, can't be used."""


class ClientKey(msgspec.Struct, frozen=True):
    """A client's key for one server. Its repr shows no secret."""

    name: str
    secret: bytes
    server: bytes
    """The server's public key."""

    @property
    def public(self) -> bytes:
        return public_of(self.secret)

    def __repr__(self) -> str:
        return f"ClientKey({self.name}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("name", self.name)]

    def write(self, path: Path) -> None:
        """Write it to `path`, for this user only, without overwriting a file. Raises `AccessError`."""
        lines = ["# neverblink: who has this file may deploy, stop and ask.", *self._lines()]
        _write(path, "\n".join(lines) + "\n", new=True)

    def _lines(self) -> list[str]:
        return [f"name {self.name}", f"secret {self.secret.hex()}", f"server {self.server.hex()}"]

    @classmethod
    def read(cls, path: Path) -> ClientKey:
        """The key in the file. Raises `AccessError`."""
        text = _read(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise AccessError(
                f"key {path} can be read by others: `chmod 600 {quote(str(path))}`, or make a new one"
            )
        fields = dict(line.split(" ", 1) for line in text.splitlines() if " " in line and line[0] != "#")
        try:
            return cls(fields["name"], key_of(fields["secret"]), key_of(fields["server"]))
        except (KeyError, AccessError):
            raise AccessError(
                f"{path} is not a client key: `neverblink keys generate NAME` makes one"
            ) from None


class ClientKeys:
    """The keys in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._server = directory / "server"
        self._clients = directory / "clients"

    def server(self) -> bytes | None:
        """The secret half of the server's key pair, None for none. Raises `AccessError`."""
        return key_of(_read(self._server)) if self._server.exists() else None

    def generate(self, *, replace: bool = False) -> bytes:
        """Make the server's key pair and return its public half. After `replace` all clients need the new one."""
        if self._server.exists() and not replace:
            raise AccessError(
                f"{self._server}: there is a server's key already; --replace makes another, which all clients need"
            )
        secret = new_secret()
        _write(self._server, f"{secret.hex()}\n")
        return public_of(secret)

    def clients(self) -> dict[str, bytes]:
        """The public keys of the clients, by name. Raises `AccessError`."""
        if not self._clients.is_dir():
            return {}
        files = sorted(path for path in self._clients.iterdir() if is_valid_name(path.name))
        return {path.name: key_of(_read(path)) for path in files}

    def add(self, name: str, public: bytes) -> None:
        """Admit the client with this public key. Raises `AccessError` for a name that is taken."""
        if not is_valid_name(name):
            raise AccessError(f"client {name!r}: expected {NAME_RULE}")
        if name in self.clients():
            raise AccessError(f"client {name!r} has a key already: `neverblink keys remove {name}` first")
        _write(self._clients / name, f"{public.hex()}\n")

    def remove(self, name: str) -> None:
        """Stop admitting the client. Raises `AccessError`."""
        if name not in self.clients():
            known = ", ".join(self.clients()) or "there are none"
            raise AccessError(f"there is no client {name!r} (clients: {known})")
        (self._clients / name).unlink(missing_ok=True)


def key_of(text: str) -> bytes:
    """Decode a key. Raises `AccessError`, which does not contain the key."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != SIZE:
        raise AccessError(f"not a key: expected {2 * SIZE} hexadecimal digits")
    return key


def client_keys(environment: Mapping[str, str]) -> list[Path]:
    """The directory of this user's own key files, where client keys are written; empty without HOME.

    It is not in the project, where a commit or a release would include them.
    """
    home = environment.get("HOME", "")
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    return [Path(config) / "neverblink" / "keys"] if config else []


def new_secret() -> bytes:
    """The secret half of a new key pair. Raises `AccessError` where keys can't be used."""
    if not zmq.has("curve"):
        raise AccessError(f"keys can't be made: {NO_CURVE}")
    return z85.decode(zmq.curve_keypair()[1])


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not text"
        raise AccessError(f"key {path} can't be read: {reason}") from None


def _write(path: Path, text: str, *, new: bool = False) -> None:
    fresh = path.with_name(f".{path.name}.new")
    try:
        if not new:
            path.parent.mkdir(0o700, parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(text)
        if new:
            os.link(fresh, path)
            fresh.unlink()
        else:
            rename_durably(fresh, path)
    except FileExistsError:
        fresh.unlink(missing_ok=True)
        raise AccessError(f"{path} is there already: name another file with --out") from None
    except OSError as problem:
        raise AccessError(f"{path} can't be written: {problem.strerror}") from None
