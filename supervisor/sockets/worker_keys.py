"""The home's secret, and the keys that a supervisor derives from it. See `protocol.keys` for which.

The secret is in `key` in the home. It never leaves the supervisor, and it belongs to the home and not to the process: a
supervisor that adopts living workers recognises them by it. When none are left, the next supervisor makes a new one, so
each run of a bot has its own keys.

Why CURVE on sockets in a directory of mode 0700? The mode keeps other users out, and the kernel's peer credentials name
the process at the other end. Neither tells the user's own processes apart, and two things remain for keys to do:

- The sockets between workers carry the bot's state, and a worker does not know the pids of the others. Without keys,
  any process of the user that reaches a socket could read the state, or send frames as if it led: the build or the
  check of a release (hidden from them only where the kernel allows it), or another program.
- A process of an earlier run, or a copy of the home from a backup, has keys that no longer open anything. A pid is used
  again; a key is not.

A process of the user that reads this file, or another process's memory, is not kept out. Encryption itself protects
nothing here. It costs about 1 ms when a connection is made and 3 to 8 µs for a message and its answer.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import zmq
from zmq.utils import z85

from ...protocol.errors import NeverblinkError
from ...protocol.feed_wire import feed_key
from ...protocol.keys import NO_CURVE, SIZE, Keys, derive
from ..system.disk import rename_durably

__all__ = ["WorkerKeys", "WorkerKeysError", "public_of"]


_LOST = (
    "and without it the workers that are alive can't be spoken to: put it back, or end them and run "
    "`neverblink up` again"
)


class WorkerKeysError(NeverblinkError):
    """The home's keys can't be read or made; `path` is the file."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


class WorkerKeys:
    """The keys of one home."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._links = derive(secret, "links")
        self.supervisor = derive(secret, "supervisor")
        """The secret half of the supervisor's key pair."""
        self._supervisor_public = public_of(self.supervisor)

    @classmethod
    def renew(cls, path: Path) -> WorkerKeys:
        """Make a new secret and write it to `path`. No living process knows it yet. Raises `WorkerKeysError`."""
        _check(path)
        made = cls(secrets.token_bytes(SIZE))
        made.keep(path)
        return made

    def keep(self, path: Path) -> None:
        """Write the secret to `path`, for the next supervisor. Raises `WorkerKeysError`."""
        secret = self._secret
        fresh = path.with_name(f"{path.name}.new")
        try:
            fresh.unlink(missing_ok=True)
            file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                if os.write(file, secret) != SIZE:
                    raise WorkerKeysError(path, "can't be written whole: is the disk full?")
            finally:
                os.close(file)
            rename_durably(fresh, path)
        except OSError as problem:
            raise WorkerKeysError(path, f"can't be written: {problem.strerror}") from None

    @classmethod
    def load(cls, path: Path) -> WorkerKeys:
        """The keys of the previous supervisor, whose workers are alive. Raises `WorkerKeysError`."""
        _check(path)
        try:
            secret = path.read_bytes()
        except OSError as problem:
            raise WorkerKeysError(path, f"can't be read ({problem.strerror}), {_LOST}") from None
        if len(secret) != SIZE:
            raise WorkerKeysError(path, f"has {len(secret)} bytes and not {SIZE}, {_LOST}")
        return cls(secret)

    def of(self, worker: str) -> Keys:
        """The keys that the worker gets when it is started."""
        return Keys(derive(self._secret, "worker", worker), self._supervisor_public, self._links)

    def feed(self, name: str) -> bytes:
        """The key of a feed."""
        return feed_key(self._links, name)

    def public(self, worker: str) -> bytes:
        """The public half of a worker's own key pair."""
        return public_of(self.of(worker).own)

    def __repr__(self) -> str:
        return "WorkerKeys(…)"


def public_of(secret: bytes) -> bytes:
    """The public half of the key pair of which this is the secret one."""
    return z85.decode(zmq.curve_public(z85.encode(secret)))


def _check(path: Path) -> None:
    if not zmq.has("curve"):
        raise WorkerKeysError(path, NO_CURVE)
