import os

import aiohttp
import msgspec

from neverblink.worker import join

MARKET = os.environ["MARKET"]


class Book(msgspec.Struct):
    seen: dict[str, int] = {}


async def main():
    loop = join(Book, tick="50ms")
    async with aiohttp.ClientSession() as session:
        async for tick in loop:
            seen = tick.state.seen
            since = min(seen.values(), default=0)
            async with session.get(f"http://{MARKET}/trades?since={since}") as answer:
                trades = await answer.json()
            for trade in trades:
                symbol, n = trade["symbol"], trade["n"]
                if n > seen.get(symbol, 0):
                    seen[symbol] = n
                    order = {"id": f"{symbol}-{n}", "symbol": symbol, "n": n}
                    async with session.post(f"http://{MARKET}/orders", json=order):
                        pass
