import asyncio
import os

import aiohttp

from neverblink.worker.adapters.asyncio_program import run, uncut

MARKET = os.environ["MARKET"]
seen = {}


async def main():
    async with aiohttp.ClientSession() as session:
        while True:
            since = min(seen.values(), default=0)
            async with session.get(f"http://{MARKET}/trades?since={since}") as answer:
                trades = await answer.json()
            for trade in trades:
                symbol, n = trade["symbol"], trade["n"]
                if n > seen.get(symbol, 0):
                    seen[symbol] = n
                    order = {"id": f"{symbol}-{n}", "symbol": symbol, "n": n}
                    async with uncut(), session.post(f"http://{MARKET}/orders", json=order):
                        pass
            await asyncio.sleep(0.05)


Bot = run(main, state=seen, tick="50ms")
