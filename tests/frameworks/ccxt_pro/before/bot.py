"""Five tasks, each of which watches the trades of a market, keeps its average, and buys with each trade."""

import asyncio
import os

import ccxt.pro as ccxt

SYMBOLS = ["AAA/USDT", "BBB/USDT", "CCC/USDT", "DDD/USDT", "EEE/USDT"]

book = {}


def connect():
    exchange = ccxt.binance(
        {
            "apiKey": "key",
            "secret": "secret",
            "enableRateLimit": False,
            "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False},
        }
    )
    exchange.urls["api"]["public"] = exchange.urls["api"]["private"] = (
        f"http://{os.environ['EXCHANGE']}/api/v3"
    )
    exchange.urls["api"]["ws"]["spot"] = f"ws://{os.environ['EXCHANGE']}/stream"
    return exchange


async def follow(exchange, symbol):
    while True:
        for trade in await exchange.watch_trades(symbol):
            kept = book.setdefault(symbol, {"average": trade["price"], "bought": 0})
            kept["average"] += (trade["price"] - kept["average"]) / 20
            await buy(exchange, symbol, trade["id"])


async def buy(exchange, symbol, number):
    client_id = f"{symbol.replace('/', '')}-{number}"
    try:
        await exchange.create_order(symbol, "market", "buy", 1, params={"newClientOrderId": client_id})
    except ccxt.InvalidOrder as problem:
        if "Duplicate" not in str(problem):
            raise
    book[symbol]["bought"] += 1


async def main():
    exchange = connect()
    try:
        await asyncio.gather(*(follow(exchange, symbol) for symbol in SYMBOLS))
    finally:
        await exchange.close()


if __name__ == "__main__":
    asyncio.run(main())
