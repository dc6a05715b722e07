"""watch: every save reaches a development bot, and no other."""

from __future__ import annotations

import pytest

from .bots import COUNT, COUNTER, bot
from .live import Live


@pytest.mark.deep
def test_watch_deploys_what_is_saved_goes_on_after_a_failure_and_ends_the_bot_it_started(live: Live) -> None:
    code = live.code("v0", COUNTER)
    live.home = code / ".neverblink" / "dev"
    live.environment.pop("NEVERBLINK_HOME")
    watch = live.start("watch", "--project", code, "--json")
    watch.prints("the bot runs")
    live.listen()
    live.ticks_on()
    (code / "bot.py").write_text(COUNTER + "\n# saved\n")
    watch.prints(" leads, ")
    assert live.event(type="deployment-ended")["outcome"] == "done"
    (code / "bot.py").write_text(bot(f"def on_start(self):\n    raise ValueError('oops')\n{COUNT}"))
    watch.prints("oops")
    live.ticks_on()
    (code / "bot.py").write_text(COUNTER + "\n# mended\n")
    live.event(lambda event: event["type"] == "deployment-ended" and event["outcome"] == "done", since=1)
    watch.interrupt()
    ended = watch.ends()
    assert ended.code == 0, ended
    assert ended.json["failed"] == 1
    assert ended.json["home"] == str(live.home)
    assert live.run("status", "--home", live.home).code == 7
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report


@pytest.mark.deep
def test_a_bot_that_does_not_start_is_started_when_the_next_save_mends_it(live: Live) -> None:
    code = live.code("v0", "def broken(:\n")
    live.home = code / ".neverblink" / "dev"
    live.environment.pop("NEVERBLINK_HOME")
    watch = live.start("watch", "--project", code)
    watch.prints("the bot did not start")
    (code / "bot.py").write_text(COUNTER)
    watch.prints("the bot runs")
    watch.interrupt()
    assert watch.ends().code == 0


def test_watch_refuses_a_home_that_it_has_not_made(live: Live) -> None:
    code = live.code("v0", COUNTER)
    (live.home / "logs").mkdir(parents=True)
    refused = live.run("watch", "--project", code)
    assert refused.code == 2
    assert "its bot may be live" in refused.err
    assert "--live" in refused.err
