"""The daemon's ZeroMQ sockets: to its workers, and for commands and events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq

from ...protocol.errors import NeverblinkError
from ...protocol.events import Event
from ..bot.bot import LiveBot
from ..sockets.bindings import Bindings
from ..sockets.request_socket import Listeners
from ..sockets.worker_keys import WorkerKeys
from ..sockets.worker_socket import SOCKET, WorkerSocket
from ..store.state_dir import Home
from ..system.open_files import limit
from .dispatcher import Dispatcher

__all__ = ["DaemonError", "DaemonSockets", "check_descriptors"]

_LINGER_MS = 500
_LEAST_DESCRIPTORS = 128
"""About 30 for the supervisor itself, 24 for a deployment, and room for clients."""
_LEAST_TO_LISTEN = 512
"""The TCP listener's 256 connections, and as many for the other clients."""


class DaemonError(NeverblinkError):
    """The supervisor cannot run in this home."""


def check_descriptors(*, listening: bool) -> None:
    """Raise `DaemonError` when this process may open too few files; `listening`: the TCP listener needs more."""
    needs = [("a supervisor needs", _LEAST_DESCRIPTORS, "")]
    if listening:
        needs.append(("[listen] needs", _LEAST_TO_LISTEN, ", or remove [listen]"))
    for what, least, otherwise in needs:
        if limit() < least:
            raise DaemonError(
                f"{what} {least} file descriptors, and this process may open {limit()}: raise the hard limit "
                f"(`ulimit -Hn`, or LimitNOFILE= in the unit){otherwise}"
            )


class DaemonSockets:
    """The sockets of the supervisor in `home`. To be closed in order: listeners, workers, the rest."""

    def __init__(self, home: Home, bindings: Bindings, say: Callable[[str], None]) -> None:
        self._home = home
        self._bindings = bindings
        self._say = say
        # One I/O thread is enough: it moves bytes, and only when there are some.
        self._context = zmq.Context[zmq.Socket[bytes]](1)
        self._worker_socket: WorkerSocket | None = None
        self._listeners: Listeners | None = None

    def open(self, bot: LiveBot, worker_keys: WorkerKeys, dispatcher: Dispatcher) -> None:
        """Connect the workers to `bot`, and clients to `dispatcher`. Raises `DaemonError`."""
        try:
            self._worker_socket = WorkerSocket(
                self._context,
                lambda socket: self._bindings.bind(socket, SOCKET, for_workers=True),
                worker_keys=worker_keys,
                bot=bot.bus.bot,
                reject_reason=bot.pool.admit,
                on_message=bot.heard,
                warn=self._say,
            )
            self._listeners = Listeners(self._context, self._bindings, dispatcher.carry_out)
        except zmq.ZMQError as problem:
            raise DaemonError(
                f"home {self._home.path}: a socket can't be made in {self._home.run} ({problem.strerror}): "
                "is the disk full, or the directory not yours?"
            ) from None
        bot.pool.connect(self._worker_socket)

    def publish(self, event: Event) -> None:
        """Send an event to all subscribers."""
        if self._listeners is not None:
            self._listeners.publish(event)

    async def close_listeners(self) -> None:
        """Stop accepting commands, and send the last answers."""
        if self._listeners is not None:
            await self._listeners.close()

    def close_workers(self) -> None:
        """Stop receiving and sending."""
        if self._worker_socket is not None:
            self._worker_socket.close(_LINGER_MS)

    async def close(self) -> None:
        """Wait until the last messages are sent, at most as long as the sockets linger."""
        await asyncio.to_thread(self._context.term)
