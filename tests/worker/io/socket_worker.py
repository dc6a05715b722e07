"""A process with the sockets of a worker, for `test_listening_sockets`: it does what its standard input says.

Its server is started before it leads, and answers each connection with the name in argv.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socketserver
import sys
import threading
from collections.abc import Callable
from socket import socket

from neverblink.protocol.listening import InheritedSocket
from neverblink.worker.io.listening_sockets import WorkerSockets, inherit

WITHIN = 10.0


class AsyncioServer(threading.Thread):
    """An asyncio server in a thread with an event loop of its own."""

    def __init__(self, listening: socket, name: str) -> None:
        super().__init__(daemon=True)
        self._listening, self._name = listening, name.encode()
        self._begun = threading.Event()
        self._loop = asyncio.new_event_loop()
        self.start()
        assert self._begun.wait(WITHIN)

    def run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._answer, sock=self._listening)
        self._begun.set()
        await self._end.wait()
        server.close()

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._name)
        writer.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self.join(WITHIN)


class ThreadServer(socketserver.ThreadingTCPServer):
    """A server of the standard library, which polls in a thread."""

    def __init__(self, listening: socket, name: str) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.sendall(name.encode())

        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def end(self) -> None:
        self.shutdown()


def registered(sockets: WorkerSockets) -> object:
    """A registration before and after a switch: its data, its events, and whether a connection is reported."""
    with selectors.EpollSelector() as selector:
        selector.register(sockets["api"], selectors.EVENT_READ, "data")
        sockets.accept()
        leading = [(key.data, events) for key, events in selector.select(WITHIN)]
        sockets.stop_accepting()
        return leading, selector.select(0.1)


def accepts(sockets: WorkerSockets) -> bool:
    """Whether accept() takes a connection, on what the bot was given or a duplicate of it."""
    with sockets["api"].dup() as again:
        for listening in (sockets["api"], again):
            try:
                accepted, _ = listening.accept()
            except BlockingIOError:
                continue
            accepted.close()
            return True
    return False


def main() -> None:
    name, kind, accept, *descriptors = sys.argv[1:]
    sockets = inherit(
        [
            InheritedSocket(
                "api", "", int(descriptor), accept="all" if accept == "all" else "leader", backlog=64
            )
            for descriptor in descriptors
        ],
        os.environ,
    )
    kinds = {"asyncio": AsyncioServer, "threads": ThreadServer}
    server = kinds[kind](sockets["api"], name) if kind in kinds else None

    def restart() -> None:
        nonlocal server
        assert server is not None
        server.end()
        server = kinds[kind](sockets["api"], name)

    carry_out: dict[str, Callable[[], object]] = {
        "lead": sockets.accept,
        "follow": sockets.stop_accepting,
        "address": lambda: sockets["api"].getsockname(),
        "accepts": lambda: accepts(sockets),
        "used": lambda: sum(os.times()[:2]),
        "registered": lambda: registered(sockets),
        "restart": restart,
        "shorten": lambda: sockets["api"].listen(1),
        "open": lambda: len(os.listdir("/proc/self/fd")),
    }
    print("begun", flush=True)
    for line in sys.stdin:
        print(repr(carry_out[line.strip()]()), flush=True)


if __name__ == "__main__":
    main()
