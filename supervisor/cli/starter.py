"""What `init` writes: a small bot that runs as it is, with its configuration, a test and a page on what to do next."""

from __future__ import annotations

__all__ = ["files"]


def files(name: str) -> dict[str, str]:
    """The files of a new project for the bot `name`: path to text."""
    return {
        "neverblink.toml": _CONFIG.format(name=name),
        "bot.py": _BOT,
        "test_bot.py": _TEST,
        "README.md": _README.format(name=name, underline="=" * len(name)),
    }


_CONFIG = """\
name = "{name}"
bot = "bot:Starter"           # MODULE:NAME

# python = "python3.13"       # the bot's interpreter; it needs neverblink installed
# durability = "process"      # process: survives a killed process | interval, always: a power loss too

[handoff]
probation = "20s"             # how long the old worker follows along, ready to take the bot back

# Every key there is: docs/operators.md
"""

_BOT = '''\
"""A bot to begin from: it watches a price, and near the end of each minute it decides whether to buy."""

import msgspec

from neverblink.worker import Tick, Window, Worker


class Position(msgspec.Struct, frozen=True):
    order: str
    price: float


class Book(msgspec.Struct):
    """The whole state. It goes from process to process, so new code begins where the old one stood."""

    price: float = 100.0
    high: float = 100.0
    positions: dict[str, Position] = {}
    bought: int = 0


class Starter(Worker[Book]):
    tick = "1s"
    # The last 15 to the last 5 seconds of each minute: no handoff begins in there.
    windows = [Window("1m", opens="-15s", closes="-5s", name="minute")]

    async def on_start(self) -> None:
        """In every process, first: connect and warm up. There is no state yet, and the bot must not act."""

    async def on_tick(self, tick: Tick[Book]) -> None:
        book = self.state
        book.price = round(100 + (tick.seq * 7919 % 200 - 100) / 50, 2)
        book.high = max(book.high, book.price)
        if tick.window("minute") and "BTC" not in book.positions and not self.paused:
            await self.buy("BTC", book.price)
        elif "BTC" in book.positions and not tick.window("minute"):
            position = book.positions.pop("BTC")
            print(f"tick {tick.seq}: sold {position.order}, bought at {position.price}, now {book.price}", flush=True)

    async def buy(self, market: str, price: float) -> None:
        # No handoff cuts what is in this block, and d.id is a client order id that no other process will ever use.
        async with self.decision("buy", market=market) as d:
            self.state.positions[market] = Position(order=d.id, price=price)
            self.state.bought += 1
            print(f"bought {d.id} at {price}", flush=True)

    async def on_command(self, name: str, args: dict[str, object]) -> object:
        """`neverblink send book` shows the state."""
        if name == "book":
            return msgspec.to_builtins(self.state)
        raise ValueError(f"unknown command {name!r}: this bot knows `book`")


if __name__ == "__main__":
    Starter.run()  # alone, without a supervisor
'''

_TEST = """\
"""

_README = """\
{name}
{underline}

A bot that [neverblink](https://pypi.org/project/neverblink/) keeps running while its code changes.

    neverblink check          # could it run?
    neverblink up             # start it; it runs in this terminal

and in a second terminal, with the bot running:

    neverblink status
    neverblink send book      # what it has in its book
    $EDITOR bot.py            # change something
    neverblink deploy .       # hand the bot over to the new code, between two ticks
    neverblink rollback       # and back, with the state as it is now
    neverblink logs -f
    neverblink down           # stop the bot for good

`python bot.py` runs it alone, and `pytest` runs its test.
"""
