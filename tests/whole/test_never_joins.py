"""A script that was named as a bot and never joins: `check`, `up` and `deploy` say so without running it."""

from __future__ import annotations

import time

import pytest

from .bots import COUNTER
from .live import Live

_SCRIPT = """
import time


def main():
    while True:
        print("trading")
        time.sleep(1)


main()
"""

_LATE = """
import time
from neverblink.worker import join


def connect():
    while True:
        time.sleep(0.2)


def main():
    connect()
    for tick in join(dict, tick="1s"):
        pass
"""

_UNGUARDED = """
import msgspec
from neverblink.worker import Worker


class Book(msgspec.Struct):
    ticks: int = 0


class Bot(Worker[Book]):
    pass


Bot.run()
"""


def test_check_and_up_and_deploy_say_at_once_that_a_script_never_joins(live: Live) -> None:
    """Even though it runs as soon as it is imported."""
    script = live.code("script", _SCRIPT, target="main", start_within="60s")
    begun = time.monotonic()
    checked = live.run("check", script)
    assert checked.code == 1, checked
    assert "main never joins" in checked.out
    assert "Have it call join() and loop over the ticks" in checked.out
    up = live.run("up", "--project", script)
    assert up.code != 0
    assert "main never joins" in up.out + up.err
    assert time.monotonic() - begun < 30


@pytest.mark.deep
def test_deploying_a_script_that_never_joins_leaves_the_bot_alone(live: Live) -> None:
    live.up(live.code("v0", COUNTER))
    deployed = live.run("deploy", live.code("script", _SCRIPT, target="main"), "--change-bot")
    assert deployed.code == 3, deployed
    assert "main never joins" in deployed.out + deployed.err
    live.ticks_on()


@pytest.mark.deep
def test_up_says_where_a_function_is_that_does_not_get_to_its_join(live: Live) -> None:
    up = live.run("up", "--project", live.code("late", _LATE, target="main", start_within="7s"))
    assert up.code != 0
    said = up.out + up.err
    assert "was not ready within start_within = 7s" in said
    assert "main has not called join() after 5s: it is at bot.py:8, in connect: time.sleep(0.2)" in said


@pytest.mark.deep
def test_a_bot_that_runs_itself_while_it_is_imported_is_refused_with_the_mend(live: Live) -> None:
    code = live.code("unguarded", _UNGUARDED, start_within="60s")
    for command in (("check", code), ("up", "--project", code)):
        begun = time.monotonic()
        ended = live.run(*command)
        assert ended.code != 0
        assert 'put the call that does so under if __name__ == "__main__"' in ended.out + ended.err, ended
        assert time.monotonic() - begun < 20
