"""The operators' sockets on TCP, for clients that have a key.

Nothing listens unless the configuration names an address, the server has a key, and there is at least one client key.
Keys may be added and removed while the bot runs: the directory is read every second. An open connection cannot be
closed by itself, so when a key was removed or changed, the sockets are closed and opened again; clients whose keys
are still there reconnect within a moment.

Requests are on the configured port, events on the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import zmq

from ...protocol.commands import Answer, Command
from ...protocol.errors import NeverblinkError
from ..config.addresses import ListenAddress
from .client_keys import ClientKeys
from .connections import HANDSHAKE_MS, Connections
from .handshake_monitor import HandshakeMonitor
from .request_socket import RequestSocket, bound_events, bound_requests
from .zap import Peer, ZapHandler

__all__ = ["TcpListener"]

_DOMAIN = "operators"
_LOOK_EVERY = 1.0
_EVENT_QUEUE = 10_000
_BACKLOG = 32
_LINGER_MS = 1000


class TcpListener:
    """Listens where `listen` says, for the clients in `access`; `tell` is called with lines for the log."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        zap_handler: ZapHandler,
        access: ClientKeys,
        listen: ListenAddress,
        carry_out: Callable[[Command], Awaitable[Answer]],
        tell: Callable[[str], None],
    ) -> None:
        self._context = context
        self._access = access
        self._listen = listen
        self._carry_out = carry_out
        self._tell = tell
        self._known: tuple[bytes | None, dict[str, bytes]] = None, {}
        self._names: dict[bytes, str] = {}
        self._open: _Sockets | None = None
        self._said = ""
        zap_handler.open(_DOMAIN, self._name_of)
        self._timer: asyncio.TimerHandle | None = None
        self.look()

    def look(self) -> None:
        """Read the keys, and open or close the sockets accordingly; by itself every second."""
        self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY, self.look)
        try:
            known = self._access.server(), self._access.clients()
        except NeverblinkError as problem:
            # Half a set of keys cannot be used.
            self._shut()
            self._say(f"not listening on {self._listen}: {problem.message}")
            return
        if known != self._known:
            before, self._known = self._known, known
            if known[0] != before[0] or not before[1].items() <= known[1].items():
                self._shut()
            self._names = {key: name for name, key in known[1].items()}
        secret, clients = known
        if secret is None:
            self._shut()
            self._say(
                f"not listening on {self._listen}: there is no server's key: `neverblink keys generate`"
            )
        elif not clients:
            self._shut()
            self._say(f"not listening on {self._listen}: no client may come: `neverblink keys generate NAME`")
        elif self._open is None:
            try:
                self._open = _Sockets(self._context, self._listen, secret, self._asked, self._tell)
            except zmq.ZMQError as problem:
                self._say(f"not listening on {self._listen}: {problem.strerror}")
            else:
                self._say(f"listening on {self._listen} for {', '.join(clients)}")

    def publish(self, parts: list[bytes]) -> None:
        """Send an event to every client that listens. Never waits."""
        if self._open is not None:
            self._open.events.send_multipart(parts, zmq.NOBLOCK)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        opened, self._open = self._open, None
        if opened is not None:
            await opened.requests.finish()
            opened.close(_LINGER_MS)

    def _name_of(self, peer: Peer) -> str:
        return self._names.get(peer.key, "")

    async def _asked(self, command: Command, name: str) -> Answer:
        # The name that the client gives is not proven; its key is.
        who = f"{command.who} (key {name})".strip()
        return await self._carry_out(msgspec.structs.replace(command, who=who))

    def _shut(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._tell(text)


class _Sockets:
    """The two sockets, while they are open. Raises zmq.ZMQError."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        listen: ListenAddress,
        secret: bytes,
        carry_out: Callable[[Command, str], Awaitable[Answer]],
        tell: Callable[[str], None],
    ) -> None:
        self._monitors: list[HandshakeMonitor] = []
        requests = context.socket(zmq.ROUTER)
        self.events = context.socket(zmq.PUB)
        bound_requests(requests)
        bound_events(self.events, _EVENT_QUEUE)
        try:
            for socket, port in ((requests, listen.port), (self.events, listen.port + 1)):
                socket.setsockopt(zmq.LINGER, 0)
                socket.setsockopt(zmq.CURVE_SERVER, 1)
                socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
                socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN.encode())
                socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
                socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
                socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
                socket.setsockopt(zmq.BACKLOG, _BACKLOG)
                socket.setsockopt(zmq.IPV6, int(":" in listen.host))
                socket.bind(listen.endpoint(port))
                limits = Connections(port, tell)
                self._monitors.append(
                    HandshakeMonitor(socket, listen.endpoint(port), tell, connections=limits)
                )
        except BaseException:
            self._close_doorsteps()
            requests.close(0)
            self.events.close(0)
            raise
        self.requests = RequestSocket(requests, carry_out, guarded=True)

    def close(self, linger: int = 0) -> None:
        self._close_doorsteps()
        self.requests.close(linger)
        self.events.close(linger)

    def _close_doorsteps(self) -> None:
        for handshakes in self._monitors:
            handshakes.close()
