"""The keys by which the processes of one home know each other. Pure: how they are made, not how they are used.

All of them come from one secret, the home's: 32 random bytes in a file that only supervisors read. What a process
needs is derived from it by HMAC-SHA256 over a label and a name, so nothing has to be stored a second time, a supervisor
that comes later knows all keys of those that were there before, and who has one derived key knows no other.

| derived | whose | what for |
|---|---|---|
| `supervisor` | the supervisor's | its socket's key pair: workers know the public half |
| `worker NAME` | that worker's | its own key pair: proves to the supervisor which worker it is |
| `links` | all workers' | the secret from which the key pairs of their sockets are derived, `leader NAME` |

They are key pairs of CURVE (CurveZMQ: X25519 and XSalsa20-Poly1305), which is ZeroMQ's own handshake: a challenge and
a response in which no secret is ever sent, both sides are proven, nothing that was overheard can be used again, and who
fails is cut off before it can send or receive anything, or take the name of a connected peer. Anything made of
messages of our own would come after that name was taken. It costs about ten microseconds a message.

The public half of a socket's key pair is told only to those who may connect: who does not know it gets no further than
the first packet. So between workers, knowing it is the proof, and no leader needs a list of its followers.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Any

import msgspec

__all__ = ["NO_CURVE", "SIZE", "Keys", "derive"]

SIZE = 32
"""Bytes of a key."""

NO_CURVE = (
    "its ZeroMQ was built without CURVE, and without it no peer can prove who it is: install pyzmq's own build, "
    "as in `python -m pip install --force-reinstall --only-binary pyzmq pyzmq`"
)

Key = Annotated[bytes, msgspec.Meta(min_length=SIZE, max_length=SIZE)]


class Keys(msgspec.Struct, frozen=True):
    """What a worker is given when it is started. Printing it shows no key."""

    own: Key
    """The secret half of its own key pair."""
    supervisor: Key
    """The public half of the supervisor's."""
    links: Key
    """What the key pairs of all workers' sockets are derived from."""

    def leader(self, worker: str) -> bytes:
        """The secret half of the key pair of a worker's socket."""
        return derive(self.links, "leader", worker)

    def __repr__(self) -> str:
        return "Keys(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


def derive(secret: bytes, purpose: str, name: str = "") -> bytes:
    """The key for `purpose` and `name`, of `SIZE` bytes."""
    return hmac.digest(secret, f"{purpose}\0{name}".encode(), hashlib.sha256)
