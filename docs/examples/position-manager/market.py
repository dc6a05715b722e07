"""A small exchange on this machine, to try the bot without an account. It knows nothing of the bot.

    python market.py [--port 8791] [--record record.jsonl] [--every 1.0]

It listens on 127.0.0.1 and prints its address as a line of JSON. A trader opens a position about once a second
(`--every`); closing it is the bot's work. Everything that happens goes into the record.

    GET  /prices           {"BTC": 6412350, …}, cents
    GET  /fills?after=7    the account's fills from number 8 on; waits up to a second for one
    GET  /account          the open positions, and the number of the last fill
    POST /orders           {"client_id", "position"} closes it: 201, 409 (id taken), 422 (not open)
    GET  /orders/ID        200 or 404, by client id
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

PRICES = {"BTC": 6_400_000, "ETH": 310_000, "SOL": 15_000, "LINK": 1_400}


class Market:
    """Prices, positions and orders of one account."""

    def __init__(self, record: Path, seed: int) -> None:
        self.prices = dict(PRICES)
        self.fills: list[dict[str, Any]] = []
        self.positions: dict[str, dict[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.changed = Condition()
        self._chance = random.Random(seed)
        self._record = record.open("a", encoding="utf-8")

    def step(self) -> None:
        with self.changed:
            for name, price in self.prices.items():
                self.prices[name] = max(1, round(price * (1 + self._chance.gauss(0, 0.0006))))

    def open_position(self) -> None:
        with self.changed:
            market = self._chance.choice(list(self.prices))
            position = {"market": market, "size": self._chance.randint(1, 5)}
            name = f"p{len(self.fills) + 1}"
            self.positions[name] = position
            self._fill(name, position, "buy")

    def sell(self, client_id: str, name: str) -> tuple[int, dict[str, Any]]:
        """The HTTP status, and the order or the problem."""
        with self.changed:
            if client_id in self.orders:
                return self._refuse(409, client_id, name, f"the client id {client_id} is taken")
            if name not in self.positions:
                return self._refuse(422, client_id, name, f"{name} is not open")
            position = self.positions.pop(name)
            order = {"client_id": client_id, "position": name, "price": self.prices[position["market"]]}
            self.orders[client_id] = order
            self._note("sold", **order)
            self._fill(name, position, "sell")
            return 201, order

    def _fill(self, name: str, position: dict[str, Any], side: str) -> None:
        fill = {
            "type": "fill",
            "n": len(self.fills) + 1,
            "position": name,
            "side": side,
            "price": self.prices[position["market"]],
            "at": time.time_ns(),
            **position,
        }
        self.fills.append(fill)
        self._note("filled", **fill)
        self.changed.notify_all()

    def _refuse(self, status: int, client_id: str, name: str, why: str) -> tuple[int, dict[str, Any]]:
        self._note("refused", client_id=client_id, position=name, reason=why)
        return status, {"error": why}

    def _note(self, what: str, **more: Any) -> None:
        self._record.write(json.dumps({"what": what, "at": time.time_ns(), **more}) + "\n")
        self._record.flush()


class Handler(BaseHTTPRequestHandler):
    market: Market

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        market = self.market
        match url.path.split("/")[1:]:
            case ["prices"]:
                self._answer(200, market.prices)
            case ["fills"]:
                after = int(parse_qs(url.query)["after"][0])
                with market.changed:
                    market.changed.wait_for(lambda: len(market.fills) > after, 1)
                    self._answer(200, market.fills[after:])
            case ["account"]:
                with market.changed:
                    account = {"type": "account", "n": len(market.fills), "positions": list(market.positions)}
                self._answer(200, account)
            case ["orders", client_id] if client_id in market.orders:
                self._answer(200, market.orders[client_id])
            case _:
                self._answer(404, {"error": f"there is no {url.path}"})

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(*self.market.sell(order["client_id"], order["position"]))

    def _answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: the record has what matters."""


def every(seconds: float, ended: Event, work: Any) -> None:
    while not ended.wait(seconds):
        work()


def main() -> None:
    parser = argparse.ArgumentParser(description="A small exchange with one account.")
    parser.add_argument("--port", type=int, default=8791, help="0: any that is free")
    parser.add_argument("--record", type=Path, default=Path("record.jsonl"))
    parser.add_argument("--every", type=float, default=1.0, help="seconds from one new position to the next")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    market = Market(options.record, options.seed)
    server = ThreadingHTTPServer(("127.0.0.1", options.port), type("Handler", (Handler,), {"market": market}))
    server.daemon_threads = True
    ended = Event()
    Thread(target=server.serve_forever, daemon=True).start()
    Thread(target=every, args=(0.05, ended, market.step), daemon=True).start()
    Thread(target=every, args=(options.every, ended, market.open_position), daemon=True).start()

    def end(*_: Any) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{server.server_port}", "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    ended.wait()


if __name__ == "__main__":
    main()
