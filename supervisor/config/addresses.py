"""[listen] in the configuration: the address of the TCP sockets."""

from __future__ import annotations

import re

import msgspec

__all__ = ["ListenAddress"]

_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>\d{1,3}(?:\.\d{1,3}){3})):(?P<port>\d{1,5})", re.ASCII
)
_LAST = 65534
"""Events are on the port after it."""


class ListenAddress(msgspec.Struct, frozen=True):
    """`host` is an address of this machine's. Requests are on `port`, events on the next."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ListenAddress | None:
        """The address in `ADDRESS:PORT`, where an IPv6 address is in brackets; None when it is none."""
        found = _ADDRESS.fullmatch(text)
        if found is None or not 0 < int(found["port"]) <= _LAST:
            return None
        return cls(found["v6"] or found["v4"], int(found["port"]))

    def endpoint(self, port: int) -> str:
        """The ZeroMQ address of a port there."""
        return f"tcp://[{self.host}]:{port}" if ":" in self.host else f"tcp://{self.host}:{port}"

    def __str__(self) -> str:
        return self.endpoint(self.port)
