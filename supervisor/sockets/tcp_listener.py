"""The operators' sockets on TCP, for clients that have a key.

It listens only if the configuration names an address, the server has a key, and there is at least one client key. Keys
may be added and removed while the bot runs: the directory is read every second. A single open connection cannot be
closed, so when a key was removed or changed, the sockets are closed and opened again. Clients whose keys still exist
reconnect within a moment.

Requests are on the configured port, events on the next one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import msgspec
import zmq

from ...protocol.commands import Answer, Command
from ...protocol.errors import NeverblinkError
from ..config.addresses import ListenAddress
from ..store.state_dir import Home
from ..system.helper_process import HelperProcess
from .authentication import HandshakeMonitor, Peer, ZapHandler
from .client_keys import ClientKeys
from .connections import HANDSHAKE_MS, Connections
from .request_socket import RequestSocket, limit_events, limit_requests

__all__ = ["ListenerSettings", "TcpListener", "keep_listener"]

_COMMAND = (sys.executable, "-P", "-m", "neverblink.supervisor.sockets")
_DOMAIN = "operators"
_LOOK_EVERY = 1.0
_EVENT_QUEUE = 10_000
_BACKLOG = 32
_LINGER_MS = 1000


class ListenerSettings(msgspec.Struct, frozen=True):
    """The settings on the process's command line. None of them is secret."""

    home: str
    listen: ListenAddress


def keep_listener(
    listen: ListenAddress, home: Home, tell: Callable[[str], None], command: tuple[str, ...] = _COMMAND
) -> HelperProcess:
    """Keep a process running that listens there; `tell` is called with lines for the log. Close it at the end.

    Strangers can reach the port, and libzmq accepts a connection before it knows whose it is. A process of its own can
    run out of descriptors or memory without harm to the supervisor.
    """
    settings = msgspec.json.encode(ListenerSettings(str(home.path), listen)).decode()
    return HelperProcess("TCP listener", (*command, settings), home.path, home.logs / "listen.err", tell)


class TcpListener:
    """Listens on the address `listen` for the clients in `access`. Calls `tell` with lines for the log."""

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
        self._last_line = ""
        zap_handler.open(_DOMAIN, self._name_of)
        self._timer: asyncio.TimerHandle | None = None
        self.look()

    def look(self) -> None:
        """Read the keys and open or close the sockets accordingly. Repeats every second."""
        self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY, self.look)
        try:
            known = self._access.server(), self._access.clients()
        except NeverblinkError as problem:
            # An incomplete set of keys cannot be used.
            self._shut()
            self._log(f"not listening on {self._listen}: {problem.message}")
            return
        if known != self._known:
            before, self._known = self._known, known
            if known[0] != before[0] or not before[1].items() <= known[1].items():
                self._shut()
            self._names = {key: name for name, key in known[1].items()}
        secret, clients = known
        if secret is None:
            self._shut()
            self._log(
                f"not listening on {self._listen}: there is no server's key: `neverblink keys generate`"
            )
        elif not clients:
            self._shut()
            self._log(f"not listening on {self._listen}: no client may come: `neverblink keys generate NAME`")
        elif self._open is None:
            try:
                self._open = _Sockets(self._context, self._listen, secret, self._on_request, self._tell)
            except zmq.ZMQError as problem:
                self._log(f"not listening on {self._listen}: {problem.strerror}")
            else:
                self._log(f"listening on {self._listen} for {', '.join(clients)}")

    def publish(self, parts: list[bytes]) -> None:
        """Send an event to every subscriber. Never waits."""
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

    async def _on_request(self, command: Command, name: str) -> Answer:
        # The client's name for itself is not proven; its key is.
        who = f"{command.who} (key {name})".strip()
        return await self._carry_out(msgspec.structs.replace(command, who=who))

    def _shut(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _log(self, text: str) -> None:
        if text != self._last_line:
            self._last_line = text
            self._tell(text)


class _Sockets:
    """The two open sockets. Raises `zmq.ZMQError`."""

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
        limit_requests(requests)
        limit_events(self.events, _EVENT_QUEUE)
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
            self._close_monitors()
            requests.close(0)
            self.events.close(0)
            raise
        self.requests = RequestSocket(requests, carry_out, guarded=True)

    def close(self, linger: int = 0) -> None:
        self._close_monitors()
        self.requests.close(linger)
        self.events.close(linger)

    def _close_monitors(self) -> None:
        for monitor in self._monitors:
            monitor.close()
