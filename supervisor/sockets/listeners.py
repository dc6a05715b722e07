"""The sockets on which operators and programs send requests and receive events.

Requests come to a ROUTER, which serves REQ and DEALER clients alike (see `request_socket`), and events go out on a PUB.
Both are unix sockets in the home, for its user. Where the configuration asks for it, a process beside the supervisor
serves clients over TCP (see `listener`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import zmq

from ...protocol.commands import EVENT_SOCKET, REQUEST_SOCKET, Answer, Command
from ...protocol.events import Event, encode_event, topic_of
from .bindings import Bindings
from .request_socket import RequestSocket, bound_events, bound_requests

__all__ = ["Listeners"]

_EVENT_QUEUE = 100_000
_LINGER_MS = 1000


class Listeners:
    """Binds the two sockets; hands each command to `carry_out`, which must not raise. Raises zmq.ZMQError."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        bindings: Bindings,
        carry_out: Callable[[Command], Awaitable[Answer]],
    ) -> None:
        requests = context.socket(zmq.ROUTER)
        events = context.socket(zmq.PUB)
        try:
            bound_requests(requests)
            requests.setsockopt(zmq.ROUTER_HANDOVER, 1)
            bindings.bind(requests, REQUEST_SOCKET)
            bound_events(events, _EVENT_QUEUE)
            bindings.bind(events, EVENT_SOCKET)
        except zmq.ZMQError:
            requests.close(0)
            events.close(0)
            raise
        self._requests = RequestSocket(requests, lambda command, _: carry_out(command))
        self._events = events

    def publish(self, event: Event) -> None:
        """Send the event to everyone who listens. Never waits; who is too slow misses some."""
        parts = [topic_of(event), encode_event(event)]
        self._events.send_multipart(parts, zmq.NOBLOCK)

    async def close(self) -> None:
        """Answer what has been asked so far, then close both sockets; what was sent last still goes out."""
        await self._requests.finish()
        self._requests.close(_LINGER_MS)
        self._events.close(_LINGER_MS)
