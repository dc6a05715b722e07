"""A market on this machine, to try the engine without an account: a stream of quotes with faults in it.

    python market.py [--port 8792] [--record record.jsonl] [--rate 100]

It listens on 127.0.0.1 and prints its address as a line of JSON. A client sends one line, {"after": 7}, and gets the
quotes from number 8 on, one a line, for ever. Spikes and shifts of the price relation are noted in the record.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

SHIFT_EVERY = 1_500
SPIKES = 0.004


class Market:
    def __init__(self, record: Path, rate: float, chance: random.Random) -> None:
        self._lines: list[bytes] = []
        self._more = asyncio.Condition()
        self._record = record.open("a", encoding="utf-8")
        self._rate = rate
        self._chance = chance
        self._weights = {"a": 0.5, "b": 0.3, "c": 0.2}
        self._basis = 4.0

    async def run(self) -> None:
        begun = time.monotonic()
        while True:
            async with self._more:
                while len(self._lines) < (time.monotonic() - begun) * self._rate:
                    self._quote(len(self._lines) + 1)
                self._more.notify_all()
            await asyncio.sleep(0.01)

    def _quote(self, n: int) -> None:
        if n % SHIFT_EVERY == 0:
            self._basis = self._chance.uniform(-10, 10)
            self._weights = {name: self._chance.uniform(0, 1) for name in self._weights}
            self._note("shift", n=n, basis=self._basis)
        venues = {name: round(self._chance.gauss(0, 3), 3) for name in self._weights}
        future = sum(self._weights[name] * value for name, value in venues.items()) + self._basis
        if self._chance.random() < SPIKES:
            future += self._chance.choice((-1, 1)) * self._chance.uniform(15, 30)
            self._note("spike", n=n)
        quote = {
            "n": n,
            "at": time.time_ns(),
            **venues,
            "future": round(future + self._chance.gauss(0, 0.3), 3),
        }
        self._lines.append(json.dumps(quote).encode() + b"\n")
        self._note("quote", **quote)

    def _note(self, what: str, **more: Any) -> None:
        self._record.write(json.dumps({"what": what, **more}) + "\n")
        self._record.flush()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            sent = int(json.loads(await reader.readline())["after"])
            while True:
                async with self._more:
                    while len(self._lines) <= sent:
                        await self._more.wait()
                lines = self._lines[sent : sent + 1_000]
                sent += len(lines)
                writer.write(b"".join(lines))
                await writer.drain()
        except (OSError, ValueError, asyncio.CancelledError):
            # The client or the market has ended.
            pass
        finally:
            writer.close()


async def main(options: argparse.Namespace) -> None:
    market = Market(options.record, options.rate, random.Random(options.seed))
    server = await asyncio.start_server(market.serve, "127.0.0.1", options.port)
    quoting = asyncio.create_task(market.run())
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"url": f"tcp://127.0.0.1:{port}", "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    quoting.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A stream of quotes with spikes and shifts.")
    parser.add_argument("--port", type=int, default=8792, help="0: any that is free")
    parser.add_argument("--record", type=Path, default=Path("record.jsonl"))
    parser.add_argument("--rate", type=float, default=100, help="quotes a second")
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(main(parser.parse_args()))
