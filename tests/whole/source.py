"""A source of events that admits one session, as an exchange does per API key: a server that sends 1, 2, 3, …"""

from __future__ import annotations

import asyncio
import threading

__all__ = ["FEED", "Source"]

FEED = """\
import asyncio


async def trades(feed):
    reader, writer = await asyncio.open_connection("127.0.0.1", {port})
    writer.write(f"{{feed.resume or 0}}\\n".encode())
    print("begins after", feed.resume, flush=True)
    try:
        async for line in reader:
            feed.publish(int(line), resume=int(line))
    finally:
        writer.close()
        print("ended", flush=True)
"""
"""A feed of this source. It asks for what it has missed."""


class Source:
    """Sends about `rate` numbers a second to each session, from the number that it asks for."""

    def __init__(self, rate: float = 500) -> None:
        self.sessions = 0
        self.open = 0
        self.most_open = 0
        """The most sessions at the same time."""
        self.newest = 0
        self.sent = 0
        """Numbers sent in all sessions together."""
        self.paused = threading.Event()
        """Set it to send nothing."""
        self._pause = 1 / rate
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        servers: list[asyncio.Server] = []

        async def begin() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            servers.append(server)
            self._started.set()

        self._loop.create_task(begin())
        self._loop.run_forever()
        for server in servers:
            server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        asked = await reader.readline()
        ended = asyncio.ensure_future(reader.read())
        try:
            # "now" is what comes next, as a live stream has it.
            next_one = self.newest + 1 if asked == b"now\n" else int(asked) + 1
            while not ended.done():
                if not self.paused.is_set():
                    writer.write(f"{next_one}\n".encode())
                    self.sent += 1
                    self.newest = max(self.newest, next_one)
                    next_one += 1
                    await writer.drain()
                await asyncio.sleep(self._pause)
        except (OSError, ValueError):
            pass
        finally:
            self.open -= 1
            ended.cancel()
            writer.close()
