"""The identity of a worker: the keys on its sockets, and the mark by which its process is found.

ZeroMQ proves the identity in its handshake (see `protocol.keys`). The mark is an abstract socket, which the kernel
keeps also when the files of the home are gone.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

import zmq
from zmq.utils import z85

from ...protocol.assignment import Assignment
from ...protocol.errors import NeverblinkError
from ...protocol.keys import NO_CURVE, Keys
from ...protocol.lease import started_of
from ...protocol.presence import Presence, Role, address_of

__all__ = ["NoKeys", "keys_of", "mark_worker", "public_of", "use_client_keys", "use_server_keys"]


class NoKeys(NeverblinkError):
    """This process has no keys to prove which worker it is."""


def keys_of(me: Assignment) -> Keys:
    """The keys that the supervisor gave to this worker. Raises `NoKeys`."""
    if not zmq.has("curve"):
        raise NoKeys(f"worker {me.worker} cannot prove its identity: {NO_CURVE}")
    if me.keys is None:
        raise NoKeys(
            f"worker {me.worker} was given no keys: only a supervisor starts workers (`neverblink up` and `deploy`), "
            "and it must not be older than this neverblink"
        )
    return me.keys


def use_client_keys(socket: zmq.Socket[bytes], own: bytes, server: bytes) -> None:
    """Make `socket` prove that it has the secret key `own`, and connect only to the owner of public key `server`."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, server)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, public_of(own))
    socket.setsockopt(zmq.CURVE_SECRETKEY, own)


def use_server_keys(socket: zmq.Socket[bytes], secret: bytes) -> None:
    """Accept only peers on `socket` that know the public key of `secret`."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, secret)


def public_of(secret: bytes) -> bytes:
    """The public key of a secret key."""
    return z85.decode(zmq.curve_public(z85.encode(secret)))


def mark_worker(key: str, home: str = "", role: Role = "worker") -> socket | None:
    """Mark this process as one of the home with this key and id; the mark lasts until the socket is closed.

    Returns None without a key, and when the mark can't be made: the bot does not depend on it.
    """
    if not key:
        return None
    mark = socket(AF_UNIX, SOCK_STREAM)
    with suppress(OSError, ValueError):
        started = started_of(Path("/proc/self/stat").read_bytes())
        mark.bind(address_of(key, Presence(os.getpid(), started, role, home)))
        return mark
    mark.close()
    return None
