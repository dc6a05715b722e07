"""freqtrade's dry run with its API server, on a simulated Binance: no candle is missed, and none entered twice."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import urllib.request
from pathlib import Path

from ...ports import HOST, free_port
from ..binance import Binance
from ..driver import Bot, Counted, Row, bot_of, drive

COINS = ("AAA", "BBB", "CCC", "DDD")


def placed(bot: Bot, exchange: Binance, port: int, place: Path) -> Bot:
    """The bot with the addresses of this run in its files."""
    for directory in (bot.before, bot.after):
        copy = place / directory.name
        shutil.copytree(directory, copy)
        for file in (copy / "config.json", copy / "neverblink.toml"):
            if file.exists():
                text = file.read_text().replace("@EXCHANGE@", f"{HOST}:{exchange.port}")
                pairs = ", ".join(f'"{coin}/USDT"' for coin in COINS)
                file.write_text(text.replace('"@PAIRS@"', pairs).replace("@PORT@", str(port)))
    return bot._replace(before=place / bot.before.name, after=place / bot.after.name)


class Pings:
    """Asks the API server all the time, each time on a connection of its own."""

    def __init__(self, port: int) -> None:
        self.answered = 0
        self.refused = 0
        """Requests that were refused before others were answered; the end of the bot does not count."""
        self.cut = 0
        """Requests without an answer: a killed process had accepted them."""
        self._port = port
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        refused = 0
        while not self._end.wait(0.05):
            try:
                with urllib.request.urlopen(f"http://{HOST}:{self._port}/api/v1/ping", timeout=60) as answer:
                    assert json.load(answer) == {"status": "pong"}
                self.refused += refused if self.answered else 0
                self.answered += 1
                refused = 0
            except (OSError, http.client.HTTPException) as problem:
                if "refused" in str(problem):
                    refused += 1
                else:
                    self.cut += 1

    def __enter__(self) -> Pings:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def test_freqtrade_goes_on_with_its_api_server(tmp_path: Path) -> None:
    port = free_port()
    with Binance(COINS) as exchange, Pings(port) as pings:
        bot = placed(bot_of("freqtrade"), exchange, port, tmp_path)
        row = drive(bot, exchange, tmp_path, deploys=2)
    print(Row.heading())
    print(row)
    print(f"{pings.answered} requests answered, {pings.refused} refused, {pings.cut} cut off by a kill")
    assert row.counted == Counted()
    assert row.missed == 0
    assert (row.added, row.removed) == (1, 0)
    assert pings.refused == 0
    assert pings.cut <= 2
