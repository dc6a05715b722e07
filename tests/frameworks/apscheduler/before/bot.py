import json
import os
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from apscheduler.schedulers.blocking import BlockingScheduler

MARKET = os.environ["MARKET"]
seen = {}
scheduler = BlockingScheduler()


@scheduler.scheduled_job("interval", seconds=0.1)
def trade():
    since = min(seen.values(), default=0)
    with urlopen(f"http://{MARKET}/trades?since={since}") as answer:
        trades = json.load(answer)
    for each in trades:
        symbol, n = each["symbol"], each["n"]
        if n > seen.get(symbol, 0):
            order = {"id": f"{symbol}-{n}", "symbol": symbol, "n": n}
            headers = {"Content-Type": "application/json"}
            try:
                urlopen(Request(f"http://{MARKET}/orders", json.dumps(order).encode(), headers)).close()
            except HTTPError as problem:
                print(f"refused: {problem}")
            seen[symbol] = n


scheduler.start()
