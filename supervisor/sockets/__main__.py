"""`python -m neverblink.supervisor.sockets SETTINGS`: the process that listens on TCP. It ends with the supervisor.

Relays requests from TCP clients to the supervisor's sockets in the home, and events to the clients.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from ...protocol.commands import Answer, Command, Fault
from ..store.state_dir import Home
from ..system.helper_process import run_helper, say
from ..system.streams import complete_streams
from .authentication import ZapHandler
from .client_keys import ClientKeys
from .supervisor_connection import AsyncRequests, InHome, RequestNotSent, event_socket
from .tcp_listener import ListenerSettings, TcpListener
from .zmq_socket import ZmqSocket

__all__ = ["main"]


def main() -> int:
    complete_streams()
    settings = msgspec.json.decode(sys.argv[1], type=ListenerSettings)
    run_helper(lambda until: _serve(settings, until))
    return 0


async def _serve(settings: ListenerSettings, until: asyncio.Event) -> None:
    home = Home(Path(settings.home))
    context = zmq.Context[zmq.Socket[bytes]](1)
    zap_handler = ZapHandler(context)
    relay = Relay(context, home)
    listener = TcpListener(context, zap_handler, ClientKeys(home.keys), settings.listen, relay.carry_out, say)
    relay.listen(listener.publish)
    await until.wait()
    await listener.close()
    relay.close()
    zap_handler.close()
    await asyncio.to_thread(context.term)


class Relay:
    """Relays requests to the supervisor of `home`, and events from it. Create it on the loop, and close it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], home: Home) -> None:
        self._endpoint = InHome(home)
        self._requests = AsyncRequests(context, self._endpoint)
        self._event_socket = event_socket(context, self._endpoint)
        self._events: ZmqSocket | None = None

    def listen(self, publish: Callable[[list[bytes]], None]) -> None:
        """From now on call `publish` with each event, as the supervisor sends it."""
        self._events = ZmqSocket(self._event_socket, publish)

    async def carry_out(self, command: Command) -> Answer:
        """The supervisor's answer to `command`. Without a time limit: this process ends with the supervisor."""
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


if __name__ == "__main__":
    sys.exit(main())
