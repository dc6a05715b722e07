"""The keys by which the processes of one home authenticate each other. Pure: how they are made, not how they are used.

All keys are derived from the home's secret: 32 random bytes in a file that only supervisors read. The derivation is
HMAC-SHA256 over a label and a name. Therefore no other key has to be stored, a later supervisor can derive all keys of
running workers, and a process with one derived key cannot derive another.

| derived | whose | what for |
|---|---|---|
| `supervisor` | the supervisor's | its socket's key pair: workers know the public half |
| `worker NAME` | that worker's | its own key pair: proves to the supervisor which worker it is |
| `links` | all workers' | the secret from which the key pairs of their sockets are derived, `leader NAME` |

They are key pairs of CURVE (CurveZMQ: X25519 and XSalsa20-Poly1305), ZeroMQ's own handshake: a challenge and a response
that send no secret, authenticate both sides and cannot be replayed. A peer that fails is disconnected before it can
send or receive anything, or take the name of a connected peer. A handshake in our own messages would be too late for
that. CURVE costs about ten microseconds a message.

Only processes that may connect get the public half of a socket's key pair; without it, the handshake fails at the
first packet. So between workers, knowing it is the authorization, and no leader needs a list of its followers.
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
    "its ZeroMQ was built without CURVE, which neverblink needs to authenticate processes: install pyzmq's own build, "
    "as in `python -m pip install --force-reinstall --only-binary pyzmq pyzmq`"
)

Key = Annotated[bytes, msgspec.Meta(min_length=SIZE, max_length=SIZE)]


class Keys(msgspec.Struct, frozen=True):
    """The keys in a worker's assignment. Printing this shows no key."""

    own: Key
    """The secret half of its own key pair."""
    supervisor: Key
    """The public half of the supervisor's key pair."""
    links: Key
    """The secret from which the key pairs of all workers' sockets are derived."""

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
