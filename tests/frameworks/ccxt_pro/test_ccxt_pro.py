"""A bot on ccxt.pro: each trade is used once, in order, and each subscription is opened once."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ..binance_streams import BinanceStreams
from ..driver import Counted, Row, bot_of, drive

COINS = ("AAA", "BBB", "CCC", "DDD", "EEE")


def test_each_trade_is_used_once_and_each_subscription_is_opened_once(tmp_path: Path) -> None:
    with BinanceStreams(COINS, rate=5) as exchange:
        row = drive(bot_of("ccxt_pro"), exchange, tmp_path, deploys=3)
    print(Row.heading())
    print(row)
    print(f"{exchange.sessions} sessions, {exchange.refused} orders refused as duplicates")
    assert (row.missed, row.counted) == (0, Counted())
    # The exchange refuses the id of an order that it has.
    assert row.alone.counted == row.standby.counted == Counted()
    assert row.added <= 5
    # ccxt opens one for each market of Binance.
    assert exchange.sessions == len(COINS)


def test_a_turn_lasts_until_the_tasks_that_got_the_result_wait_for_the_next_one() -> None:
    bot = bot_of("ccxt_pro")
    script = Path(__file__).with_name("turns.py")
    done = subprocess.run([bot.python, str(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "at the end of a turn both tasks are done with the trade: [1, 1]",
        "later: ['book', 2, 2]",
        "a turn ends with the program: bad price",
    ], done.stderr
