"""Serves complete candles on a websocket. Each has a number, and a client says which it has: none is lost or repeated."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from candles import Candle


class Subscribe(msgspec.Struct, frozen=True):
    """What a client sends first."""

    after: int = 0


class Numbered(msgspec.Struct, frozen=True):
    n: int
    candle: Candle


class CandleServer:
    """`after(n)` returns the complete candles after number n."""

    def __init__(self, after: Callable[[int], list[Numbered]]) -> None:
        self._after = after
        self._more = asyncio.Event()
        self._clients: set[ServerConnection] = set()
        self._server: Server | None = None

    async def start(self, sock: object) -> None:
        self._server = await serve(self._serve, sock=sock)

    def publish(self) -> None:
        """There are more candles."""
        self._more.set()
        self._more = asyncio.Event()

    def send_away(self) -> None:
        """Close every connection: the clients connect again, and reach the process that leads."""
        for client in self._clients:
            asyncio.ensure_future(client.close(1012, "another process serves"))

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, client: ServerConnection) -> None:
        self._clients.add(client)
        try:
            first = msgspec.json.decode(await client.recv(), type=Subscribe)
            sending = asyncio.create_task(self._send(client, first.after))
            await client.wait_closed()
            sending.cancel()
        finally:
            self._clients.discard(client)

    async def _send(self, client: ServerConnection, sent: int) -> None:
        # A client that is gone has what it has, and says so when it connects again.
        with suppress(ConnectionClosed):
            while True:
                more = self._more
                for numbered in self._after(sent):
                    await client.send(msgspec.json.encode(numbered).decode())
                    sent = numbered.n
                await more.wait()
