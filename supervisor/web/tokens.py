"""Tokens for HTTP, each with a name and a role.

They are kept as hashes in the home's file `tokens`: a token is 32 random bytes, so a plain SHA-256 of it reveals
nothing. A token is shown once, when it is made. The file is replaced atomically and read again when it has changed, so
a removed token is invalid from the next request on.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.wire import UNDECODABLE
from ..system.disk import rename_durably
from ..system.text import NAME_RULE, is_valid_name

__all__ = ["ROLES", "NoSuchToken", "Role", "Token", "TokenError", "Tokens"]

Role = Literal["viewer", "operator"]

ROLES: tuple[Role, ...] = ("viewer", "operator")
"""`viewer` sees everything and changes nothing; `operator` may do everything that the command line can."""

_PREFIX = "nbt_"
"""A prefix that secret scanners can find in published text."""
_LONGEST = 200


class TokenError(NeverblinkError):
    """A token cannot be made, removed or read."""


class NoSuchToken(TokenError):
    """A name that is invalid, taken, or unknown."""


class Token(msgspec.Struct, frozen=True):
    """A stored token. `made` is wall ns."""

    name: str
    role: Role
    digest: str
    made: int

    def __repr__(self) -> str:
        return f"Token({self.name}, {self.role})"


class Tokens:
    """The tokens in the file at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._by_digest: dict[str, Token] = {}

    def list(self) -> list[Token]:
        """All of them, by name. Raises `TokenError` when the file can't be read."""
        self._look()
        return sorted(self._by_digest.values(), key=lambda token: token.name)

    def find(self, secret: str) -> Token | None:
        """The token with this secret, None when there is none. Raises `TokenError`."""
        self._look()
        return self._by_digest.get(_digest(secret)) if len(secret) <= _LONGEST else None

    def add(self, name: str, role: Role) -> str:
        """Make a token and return its secret, which is not stored. Raises `NoSuchToken` for an invalid or taken name.
        Make a token and return its secret, which is not stored. Raises `NoSuchToken` for an invalid or taken name."""
        if not is_valid_name(name):
            raise NoSuchToken(f"token {name!r}: expected {NAME_RULE}")
        with self._locked():
            there = self.list()
            if any(token.name == name for token in there):
                raise NoSuchToken(
                    f"there is a token {name!r} already: `neverblink token remove {name}` first"
                )
            secret = _PREFIX + secrets.token_urlsafe(32)
            self._write([*there, Token(name, role, _digest(secret), time.time_ns())])
        return secret

    def remove(self, name: str) -> None:
        """Revoke this token. Raises `NoSuchToken`."""
        with self._locked():
            there = self.list()
            left = [token for token in there if token.name != name]
            if len(left) == len(there):
                known = ", ".join(token.name for token in there) or "there are none"
                raise NoSuchToken(f"there is no token {name!r} (tokens: {known})")
            self._write(left)

    def _look(self) -> None:
        try:
            found = self.path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen == self._seen:
                return
            kept = msgspec.json.decode(self.path.read_bytes(), type=list[Token])
        except FileNotFoundError:
            self._seen, self._by_digest = None, {}
            return
        except UNDECODABLE:
            raise TokenError(f"{self.path} is damaged: remove it, and make the tokens again") from None
        except OSError as problem:
            raise TokenError(f"{self.path} can't be read: {problem.strerror}") from None
        self._by_digest = {token.digest: token for token in kept}
        self._seen = seen

    def _write(self, tokens: list[Token]) -> None:
        fresh = self.path.with_name(f".{self.path.name}.new")
        try:
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(msgspec.json.encode(tokens) + b"\n")
            rename_durably(fresh, self.path)
        except OSError as problem:
            raise TokenError(f"{self.path} can't be written: {problem.strerror}") from None

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Exclude other writers: of two changes at once one would be lost."""
        try:
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as problem:
            raise TokenError(f"{self.path.parent} can't be opened: {problem.strerror}") from None
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
