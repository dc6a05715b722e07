"""Passes requests that came over TCP on to the supervisor's own sockets, and the answers back."""

from __future__ import annotations

from collections.abc import Callable

import zmq

from ...protocol.commands import Answer, Command, Fault
from ..store.state_dir import Home
from .endpoints import InHome
from .supervisor_connection import AsyncRequests, RequestNotSent, event_socket
from .zmq_socket import ZmqSocket

__all__ = ["Relay"]


class Relay:
    """Connects to the supervisor of `home`. Make it on the loop, and close it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], home: Home) -> None:
        self._endpoint = InHome(home)
        self._requests = AsyncRequests(context, self._endpoint)
        self._event_socket = event_socket(context, self._endpoint)
        self._events: ZmqSocket | None = None

    def listen(self, publish: Callable[[list[bytes]], None]) -> None:
        """From now on call `publish` with each event, as the supervisor sends it."""
        self._events = ZmqSocket(self._event_socket, publish)

    async def carry_out(self, command: Command) -> Answer:
        """The supervisor's answer to `command`. It has no time limit: this process ends with the supervisor."""
        try:
            return await self._requests.ask(command)
        except RequestNotSent:
            fault = Fault("busy", "the supervisor takes no more requests now: ask again later")
            return Answer(command.id, "error", error=fault)

    def close(self) -> None:
        self._requests.close()
        if self._events is not None:
            self._events.close()
        else:
            self._event_socket.close(0)
        self._endpoint.close()
