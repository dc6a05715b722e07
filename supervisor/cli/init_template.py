"""The files that `init` writes: a small working bot with configuration, a test and a page on what to do next."""

from __future__ import annotations

__all__ = ["files"]


def files(name: str, *, pushed: bool = False) -> dict[str, str]:
    """The files of a new project for the bot `name`: path to text. `pushed`: there is a repository to push to."""
    deploys = _PUSH if pushed else _DEPLOY
    return {
        "neverblink.toml": _CONFIG.format(name=name),
        "pyproject.toml": _PYPROJECT.format(name=name.lower().strip("._-")),
        "bot.py": _BOT,
        "test_bot.py": _TEST,
        "README.md": _README.format(name=name, underline="=" * len(name), deploys=deploys),
        ".gitignore": _IGNORE,
    }


_CONFIG = """\
name = "{name}"
bot = "bot:Starter"           # MODULE:NAME

# python = "python3.13"       # an existing interpreter; by default the bot gets an environment built from its
                              # pyproject.toml, uv.lock or requirements.txt
# env_file = ".env"           # NAME=VALUE lines for the bot: keys and passwords, never copied into a release
# durability = "process"      # process: survives a killed process | interval, always: a power loss too

[handoff]
probation = "2s"              # how long the old worker stays ready to take the bot back; use minutes with real money

# All keys: docs/configuration.md
"""

_PYPROJECT = """\
# The bot's dependencies: each release gets its own environment with these and neverblink.
[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["msgspec"]

[dependency-groups]
dev = ["pytest"]
"""

_IGNORE = """\
.env
.neverblink/
.venv/
__pycache__/
.pytest_cache/
"""

_BOT = '''\
"""A starting point for your bot: it watches a price, and near the end of each minute it decides whether to buy."""

import msgspec
from neverblink.worker import Tick, Timer, Window, Worker


class Position(msgspec.Struct, frozen=True):
    order: str
    price: float


class Book(msgspec.Struct):
    """The whole state. It is passed from process to process, so new code continues where the old code stopped."""

    price: float = 100.0
    high: float = 100.0
    positions: dict[str, Position] = {}
    bought: int = 0


class Starter(Worker[Book]):
    tick = "1s"
    # The last 15 to the last 5 seconds of each minute: no handoff begins then.
    windows = [Window("1m", opens="-15s", closes="-5s", name="minute")]

    async def on_start(self) -> None:
        """Runs first in every process: connect and warm up. There is no state yet, and the bot must not act."""

    async def on_tick(self, tick: Tick[Book]) -> None:
        book = self.state
        book.price = round(100 + (tick.seq * 7919 % 200 - 100) / 50, 2)
        book.high = max(book.high, book.price)
        if tick.window("minute") and "BTC" not in book.positions and not self.paused:
            await self.buy("BTC")

    async def on_timer(self, timer: Timer) -> None:
        """A timer is part of the state: it was armed in `buy`, perhaps by an older release."""
        match timer.name.split():
            case ["sell", market] if market in self.state.positions:
                await self.sell(market)
            case _:
                pass

    async def buy(self, market: str) -> None:
        # No handoff interrupts this block, and d.id is a client order id that no other process will ever use.
        async with self.decision("buy", market=market) as d:
            self.state.positions[market] = Position(order=d.id, price=self.state.price)
            self.state.bought += 1
            self.set_timer(f"sell {market}", after="20s")
            print(f"bought {d.id} at {self.state.price}", flush=True)

    async def sell(self, market: str) -> None:
        async with self.decision("sell", market=market) as d:
            position = self.state.positions.pop(market)
            print(f"sold {d.id}, bought at {position.price}, now {self.state.price}", flush=True)

    async def on_command(self, name: str, args: dict[str, object]) -> object:
        """`neverblink send book` shows the state."""
        if name == "book":
            return msgspec.to_builtins(self.state)
        raise ValueError(f"unknown command {name!r}: this bot knows `book`")


if __name__ == "__main__":
    Starter.run()  # alone, without a supervisor
'''

_TEST = '''\
"""The bot's tests, for `pytest`. Time is simulated, so a minute passes at once."""

from datetime import UTC, datetime

from neverblink.worker.testing import Simulation

from bot import Starter

# Ten seconds before the window opens (15 seconds before the end of the minute).
START = datetime(2026, 1, 5, 12, 0, 35, tzinfo=UTC)


def test_it_buys_once_in_the_window_and_sells_20_seconds_later():
    with Simulation(Starter, at=START) as bot:
        bot.ticks(10)
        assert bot.state.bought == 0
        bot.ticks(10)
        assert bot.state.bought == 1
        assert "BTC" in bot.state.positions
        bot.ticks(11)
        assert bot.state.bought == 1
        assert bot.state.positions == {}


def test_it_keeps_its_positions_when_the_code_changes():
    class NewCode(Starter):
        """The release that `neverblink deploy` would start."""

    with Simulation(Starter, at=START) as bot:
        bot.ticks(12)
        held = bot.state.positions["BTC"]
        bot.hand_over(NewCode)  # happens when the window has closed
        assert isinstance(bot.leader, NewCode)
        assert bot.state.positions == {"BTC": held}
        bot.ticks(11)  # the timer armed by the old code goes off in the new code
        assert bot.state.positions == {}
        assert bot.state.bought == 1


def test_it_buys_nothing_while_it_is_paused():
    with Simulation(Starter, at=START) as bot:
        bot.pause()
        bot.ticks(30)
        assert bot.state.bought == 0


def test_it_shows_its_book():
    with Simulation(Starter, at=START) as bot:
        bot.ticks(12)
        assert bot.send("book")["bought"] == 1
'''

_DEPLOY = "    neverblink deploy .       # hand the bot over to the new code, between two ticks"
_PUSH = """\
    git commit -am "..."
    git push live main        # hand the bot over to the new code, between two ticks"""

_README = """\
{name}
{underline}

A bot that neverblink keeps running while its code changes.

    neverblink check          # check whether it can run
    neverblink up             # start it; it runs in this terminal

and in a second terminal, with the bot running:

    neverblink status
    neverblink send book      # show its state
    $EDITOR bot.py            # change something
{deploys}
    neverblink rollback       # back to the old code, with the current state
    neverblink logs -f
    neverblink down           # stop the bot for good

`python bot.py` runs it without a supervisor. `python -m pytest` runs its tests, after `python -m pip install pytest`.
"""
