"""Who a worker is, and how it proves it: the keys on its sockets, and how a failed handshake shows.

ZeroMQ does the proving, in its handshake (see `protocol.keys`). A peer that fails it is cut off without a message and
tries again, for ever. So a worker watches its own handshakes, and with them whether the connection exists.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from ...protocol.assignment import Assignment
from ...protocol.errors import NeverblinkError
from ...protocol.keys import NO_CURVE, Keys

__all__ = ["NoKeys", "SupervisorConnection", "keys_of", "public_of", "use_client_keys", "use_server_keys"]

_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
"""After one of these ZeroMQ does not try again."""
_CUT_OFF = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_MADE = zmq.EVENT_HANDSHAKE_SUCCEEDED
_LOST = zmq.EVENT_DISCONNECTED
_ENOUGH = 3
"""One may be cut off because the other side has just died."""


class NoKeys(NeverblinkError):
    """This process can't prove which worker it is."""


def keys_of(me: Assignment) -> Keys:
    """The keys this worker was given. Raises `NoKeys`."""
    if not zmq.has("curve"):
        raise NoKeys(f"worker {me.worker} can't prove who it is: {NO_CURVE}")
    if me.keys is None:
        raise NoKeys(
            f"worker {me.worker} was given no keys: only a supervisor starts workers (`neverblink up` and `deploy`), "
            "and none that is older than this neverblink"
        )
    return me.keys


def use_client_keys(socket: zmq.Socket[bytes], own: bytes, server: bytes) -> None:
    """Have `socket` prove that it has the secret `own`, and talk only to the peer with the public key `server`."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, server)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, public_of(own))
    socket.setsockopt(zmq.CURVE_SECRETKEY, own)


def use_server_keys(socket: zmq.Socket[bytes], secret: bytes) -> None:
    """Accept only peers on `socket` that have the public half of `secret`."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, secret)


def public_of(secret: bytes) -> bytes:
    """The public half of the key pair of which this is the secret one."""
    return z85.decode(zmq.curve_public(z85.encode(secret)))


class SupervisorConnection:
    """Watches the connection of `socket` to the supervisor until `close`. Make it before the socket connects.

    `changed(there)` is called when it is lost, and when it is there again.
    """

    def __init__(self, socket: zmq.Socket[bytes], changed: Callable[[bool], object]) -> None:
        self._socket = socket
        self._changed = changed
        self._failures = 0
        self._certain = False
        self._monitor = socket.get_monitor_socket(_REFUSED | _CUT_OFF | _MADE | _LOST)
        self.fd = int(self._monitor.getsockopt(zmq.FD))
        """Rings when there may be something to look at; call `rang` when it does."""
        self.may_have = True
        """Something may have happened that was not looked at."""

    def rang(self) -> None:
        self.may_have = True

    def welcomed(self) -> None:
        """The supervisor has sent a message: this worker is admitted, and failures after that do not count."""
        self._certain = True

    def look(self) -> bool:
        """Whether it is certain by now that the supervisor refuses this worker; True only once."""
        with suppress(zmq.ZMQError):
            while True:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))["event"]
                if event & (_MADE | _LOST):
                    self._changed(bool(event & _MADE))
                    continue
                self._failures += _ENOUGH if event & _REFUSED else 1
                if not self._certain and self._failures >= _ENOUGH:
                    self._certain = True
                    return True
        self.may_have = False
        return False

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(0)
