"""An exchange that pushes every fill to every connection, and keeps a ledger."""

from __future__ import annotations

import selectors
import socket
import time
from threading import Event, Thread

__all__ = ["Exchange"]


class Exchange:
    """Sends `rate` fills a second, each a line with its id, from the first connection on until `stop`."""

    def __init__(self, rate: int) -> None:
        self.ledger: dict[str, int] = {}
        """Each fill, and the number of connections it was sent to."""
        self._every = 1 / rate
        self._server = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._stopped = Event()
        self._thread = Thread(target=self._run)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.getsockname()[1]

    def stop(self) -> None:
        """Send no more. Connections stay open."""
        self._stopped.set()
        self._thread.join()

    def close(self) -> None:
        self.stop()
        for connection in (*self._connections, self._server):
            connection.close()

    def _run(self) -> None:
        due = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            while not self._stopped.is_set():
                if selector.select(max(0, due - time.monotonic())):
                    self._connections.append(self._server.accept()[0])
                if time.monotonic() >= due:
                    due += self._every
                    self._push(f"f{len(self.ledger)}")

    def _push(self, fill: str) -> None:
        for connection in self._connections[:]:
            try:
                connection.sendall(f"{fill}\n".encode())
            except OSError:
                self._connections.remove(connection)
                connection.close()
        if self._connections:
            self.ledger[fill] = len(self._connections)
