"""A crowd of listeners: connections that take in events, at once, slowly or never.

`python -m tests.web.crowd PORT TOKEN COUNT SLOW` is one until it is ended: SLOW of them read a little each second, one
reads nothing, and the others read what comes.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import time

from tests.ports import HOST

__all__ = ["Crowd"]

_LITTLE = 512


class Crowd:
    """Connections that listen. Nothing is read from them but by `read`. To be closed."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self.wires: list[socket.socket] = []

    def come(self, count: int) -> None:
        """Connect this many more listeners."""
        for _ in range(count):
            wire = self.stand()
            wire.sendall(
                b"GET /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n\r\n"
                % self._token.encode()
            )

    def stand(self) -> socket.socket:
        """Open one more connection without a request."""
        wire = socket.socket()
        # The smallest buffer, so that unread data has an effect soon.
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        wire.connect((HOST, self._port))
        self.wires.append(wire)
        return wire

    def read(self, wires: list[socket.socket], until: float, most: int = 65536) -> dict[socket.socket, int]:
        """Read from these until then, at most so much at a time; return how much came from each."""
        got = dict.fromkeys(wires, 0)
        with selectors.DefaultSelector() as ready:
            for wire in wires:
                wire.setblocking(False)
                ready.register(wire, selectors.EVENT_READ)
            while (left := until - time.monotonic()) > 0:
                for key, _ in ready.select(left):
                    wire = key.fileobj
                    assert isinstance(wire, socket.socket)
                    with contextlib.suppress(ConnectionError):
                        piece = wire.recv(most)
                        got[wire] += len(piece)
                        if piece:
                            continue
                    ready.unregister(wire)
        return got

    def close(self) -> None:
        for wire in self.wires:
            wire.close()


def main() -> None:
    port, token, count, slow = sys.argv[1:]
    crowd = Crowd(int(port), token)
    crowd.come(int(count))
    print("here", flush=True)
    slowly, others = crowd.wires[: int(slow)], crowd.wires[int(slow) + 1 :]
    while True:
        crowd.read(others, time.monotonic() + 1)
        for wire in slowly:
            wire.setblocking(False)
            with contextlib.suppress(OSError):
                wire.recv(_LITTLE)


if __name__ == "__main__":
    main()
