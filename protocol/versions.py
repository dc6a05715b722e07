"""Which protocol versions two processes can speak with each other.

Old and new run on different releases of the user's code and so on different releases of neverblink. Each side says
the range it speaks; the pair uses the highest version that both know.
"""

from __future__ import annotations

import msgspec

from .errors import NeverblinkError

__all__ = ["API", "PROTOCOL", "ProtocolMismatch", "VersionRange", "negotiate"]


class VersionRange(msgspec.Struct, frozen=True, array_like=True):
    """The protocol versions a process speaks, both ends included."""

    oldest: int
    newest: int

    def __str__(self) -> str:
        return str(self.newest) if self.oldest == self.newest else f"{self.oldest} to {self.newest}"


PROTOCOL = VersionRange(1, 1)
"""What this release speaks between workers and with the supervisor."""

API = 1
"""The version of the operator's requests and answers."""


class ProtocolMismatch(NeverblinkError):
    """Two processes have no protocol version in common."""

    def __init__(self, who: str, theirs: VersionRange, ours: VersionRange) -> None:
        side = "older" if theirs.newest < ours.oldest else "newer"
        super().__init__(
            f"{who} speaks neverblink protocol {theirs}, this side speaks {ours}: "
            f"its neverblink is {side}; install the same release of neverblink on both sides"
        )
        self.who = who
        self.theirs = theirs
        self.ours = ours


def negotiate(who: str, theirs: VersionRange, ours: VersionRange = PROTOCOL) -> int:
    """Return the highest version both sides speak; raise `ProtocolMismatch` naming `who` when there is none."""
    best = min(theirs.newest, ours.newest)
    if best < max(theirs.oldest, ours.oldest):
        raise ProtocolMismatch(who, theirs, ours)
    return best
