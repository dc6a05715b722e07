"""Prints what becomes of results of a feed in the tasks of a bot. Runs in the package's environment."""
# pyright: basic, reportMissingImports=false, reportPrivateUsage=false

import asyncio

from neverblink.worker.adapters.ccxt_pro import _key, _Results

TRADES, BOOK, TICKER = (_key([f"watch_{what}", "AAA/USDT"]) for what in ("trades", "order_book", "ticker"))


async def main() -> None:
    results = _Results(None)
    done: list[object] = []

    async def follow() -> None:
        while True:
            trade = await results.next(TRADES)
            # As an order at the exchange does.
            await asyncio.sleep(0.05)
            done.append(trade)

    async def look_once() -> None:
        done.append(await results.next(BOOK))

    async def fail() -> None:
        await results.next(TICKER)
        raise ValueError("bad price")

    async def program() -> None:
        # The feed is ahead of it.
        await asyncio.sleep(0.1)
        await asyncio.gather(follow(), follow(), look_once(), fail())

    task = asyncio.ensure_future(program())
    await results.deliver(TRADES, 1, task)
    print(f"at the end of a turn both tasks are done with the trade: {done}")
    await results.deliver(BOOK, "book", task)
    await results.deliver(BOOK, "book that no task waits for any more", task)
    await results.deliver(TRADES, 2, task)
    print(f"later: {done[2:]}")
    await results.deliver(TICKER, "price", task)
    print(f"a turn ends with the program: {task.exception()}")


asyncio.run(main())
