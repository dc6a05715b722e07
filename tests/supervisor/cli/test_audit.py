"""audit, as it is typed and as it is read."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from neverblink.protocol.frame import COMMAND, GENESIS, Traffic
from neverblink.protocol.grid import Gap
from neverblink.protocol.window import WindowSpec
from neverblink.supervisor.audit.scope import Moment, Seq
from neverblink.supervisor.cli.audit import bound
from neverblink.supervisor.cli.command_group import neverblink
from neverblink.supervisor.cli.exit_codes import BadInput, Exit
from neverblink.supervisor.store.history_db import HistoryDb
from neverblink.supervisor.store.history_rows import WINDOWS
from neverblink.supervisor.store.state_dir import Home

from ..audit.journal_builder import SECOND, JournalBuilder


def run(home: Home, *args: str) -> Result:
    return CliRunner().invoke(neverblink, ["audit", "--home", str(home.path), *args])


def json_of(home: Home, *args: str) -> dict[str, Any]:
    result = run(home, "--json", *args)
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def builder(home: Home) -> JournalBuilder:
    made = JournalBuilder(seq=60 * 20 - 1).begin().receive("a").ticks(100).event("a").arm("t", 1301 * SECOND)
    made.hand("w2", "v2", deployment=3, blackout=240_000).ticks(100)
    made.tick(Gap(1400, 1404, "skipped", "tick 1399 took 5s")).tick()
    made.conclude(made.decide())
    made.write(home.journal)
    return made


def test_a_correct_journal_exits_with_0_and_lists_what_it_proves(home: Home) -> None:
    builder(home)
    result = run(home)
    assert result.exit_code == Exit.DONE
    assert result.stdout.startswith("202 ticks ran, 5 skipped\n")
    assert result.stdout.count("proven") == 6
    assert "202 (1200 to 1406): none missed, none doubled, 5 skipped" in result.stdout
    assert "skipped 1400 to 1404: tick 1399 took 5s" in result.stdout
    assert "v1 -> v2  blackout 0.24 ms" in result.stdout


def test_commands_and_repetitions_have_separate_lines(home: Home) -> None:
    made = JournalBuilder().begin().receive("a", f"{COMMAND}cmd-1").tick().event("a")
    made.event(f"{COMMAND}cmd-1").tick(traffic=Traffic((), (), 3))
    made.write(home.journal)
    shown = [" ".join(line.split()) for line in run(home).stdout.splitlines()]
    assert "events 1 received, 1 applied, 0 waiting" in shown
    assert "commands 1 received, 1 applied, 0 waiting" in shown
    assert "repeats 3 received again, and dropped" in shown


def test_json_has_every_figure(home: Home) -> None:
    builder(home)
    report = json_of(home)
    assert report["ok"] is True
    assert (report["ticks"], report["missed"], report["doubled"]) == (202, 0, 0)
    assert report["skipped"] == [{"seq": 1400, "last": 1404, "cause": "tick 1399 took 5s"}]
    (handoff,) = report["handoffs"]
    assert {
        name: handoff[name] for name in ("deployment", "seq", "blackout_us", "late_us", "from", "to", "cause")
    } == {
        "deployment": 3,
        "seq": 1300,
        "blackout_us": 240.0,
        "late_us": 100.0,
        "from": "w1",
        "to": "w2",
        "cause": "handoff",
    }
    assert report["chain"]["ok"] is True
    assert len(report["chain"]["digest"]) == 2 * len(GENESIS)


def test_a_broken_journal_exits_with_1_and_names_the_break(home: Home) -> None:
    made = builder(home)
    made.seq -= 1
    made.tick().write(home.journal)
    result = run(home)
    assert result.exit_code == Exit.BROKEN
    assert result.stdout.splitlines()[-1] == "broken  tick 1406 ran twice  (frame 206)"
    report = json_of(home)
    assert report["ok"] is False
    assert report["doubled"] == 1
    assert [(found["invariant"], found["seq"]) for found in report["broken"]] == [(2, 1406)]
    assert run(home, "--until", "1405").exit_code == Exit.DONE


def test_the_span_is_the_requested_one(home: Home) -> None:
    builder(home)
    assert json_of(home, "--since", "1250", "--until", "1259")["ticks"] == 10
    assert json_of(home, "--since", "10m")["ticks"] == 0
    result = run(home, "--since", "10m")
    assert (result.exit_code, result.stdout) == (
        Exit.DONE,
        "the journal has nothing in this span, so nothing was proven\n",
    )


@pytest.mark.parametrize("bounds", [("1259", "1250"), ("10m", "20m"), ("14:05:10", "14:05:09")])
def test_a_span_that_ends_before_it_begins_is_refused(home: Home, bounds: tuple[str, str]) -> None:
    builder(home)
    result = run(home, "--since", bounds[0], "--until", bounds[1])
    assert result.exit_code == Exit.BAD_INPUT
    assert result.stderr.startswith(f"neverblink: --since {bounds[0]} lies after --until {bounds[1]}: ")


def test_windows_are_those_of_the_bot_or_of_the_option(home: Home) -> None:
    builder(home)
    assert json_of(home)["windows"] == {}
    with HistoryDb.open(home.database, "foresight") as past:
        past.started("w1", "v1", 1, 1, home.logs / "w1.log", 1)
        unreadable = WindowSpec("1m", "-90s", "-5s", name="of a later release")
        past.keep(WINDOWS, [WindowSpec("1m", "-20s", "-5s", name="minute"), unreadable])
    found = json_of(home)["windows"]
    assert (found["minute"]["total"], found["minute"]["covered"]) == (3, 3)
    found = json_of(home, "--window", "2m,0s,10s", "--window", "1m,12s,21s")["windows"]
    assert found["2m 0s..10s"]["total"] == 2
    uncovered = [{"opens": 1392 * SECOND, "closes": 1401 * SECOND}]
    assert found["1m 12s..21s"] == {"total": 4, "covered": 3, "uncovered": uncovered}
    assert "minute: 3 of 3 times covered" in run(home).stdout


def test_an_unusable_journal_is_reported(home: Home) -> None:
    assert run(home).exit_code == Exit.BAD_INPUT
    builder(home)
    for args in (["--since", "yesterday"], ["--window", "5m"], ["--window", "5m,-1h,-5s"]):
        result = run(home, *args)
        assert result.exit_code == Exit.BAD_INPUT
        assert result.stderr.startswith(f"neverblink: {args[0]} {args[1]}: ")


def test_bounds_may_be_times_or_durations() -> None:
    now = int(datetime(2026, 11, 24, 14, 5, 9).astimezone().timestamp()) * SECOND
    assert bound("--since", "", now) is None
    assert bound("--since", "1795533244", now) == Seq(1795533244)
    assert bound("--since", "10m", now) == Moment(now - 600 * SECOND)
    assert bound("--since", "14:05:08", now) == Moment(now - SECOND)
    assert bound("--since", "14:05", now) == Moment(now - 9 * SECOND)
    assert bound("--since", "2026-11-24T14:05:10", now) == Moment(now + SECOND)
    assert bound("--since", "2026-11-24T14:05:10Z", now) == Moment(1_795_529_110 * SECOND)
    with pytest.raises(BadInput, match="10m"):
        bound("--since", "25:00", now)


def test_the_first_line_says_how_many_ticks_were_missed(home: Home) -> None:
    made = builder(home)
    made.tick(Gap(made.seq + 1, made.seq + 60, "missed", "w2 died")).tick()
    made.write(home.journal)
    result = run(home)
    assert result.exit_code == Exit.DONE
    assert re.match(r"20\d ticks ran, 60 missed, 5 skipped\n", result.stdout), result.stdout


def test_an_event_driven_bot_has_turns_and_heartbeats(home: Home) -> None:
    made = JournalBuilder(seq=1199).begin().receive("a", "b").heartbeats(3).event("a").event("b")
    made.hand("w2", "v2", blackout=240_000).heartbeats(2)
    made.write(home.journal)
    result = run(home)
    assert result.stdout.startswith("0 ticks, 2 turns ran, no heartbeat missed, none doubled\n"), (
        result.stdout
    )
    assert "5 (1200 to 1204): none missed, none doubled, none skipped" in result.stdout
    assert "2 of the bot's own, a heartbeat every 1s" in result.stdout
    assert re.search(r"heartbeat 1203 +handoff +v1 -> v2 +blackout 0.24 ms\n", result.stdout), result.stdout
    report = json_of(home)
    assert (report["ticks"], report["heartbeats"], report["turns"]) == (0, 5, 2)


def test_heartbeats_that_no_process_made_are_missed_and_a_bot_may_get_its_ticks_by_a_deployment(
    home: Home,
) -> None:
    made = JournalBuilder(seq=1199).begin().heartbeats(2)
    made.lead("w2", "failover").tick(Gap(1202, 1211, "missed", "w1 died"), heartbeat=True)
    made.write(home.journal)
    assert run(home).stdout.startswith("0 ticks, 0 turns ran, 10 heartbeats missed\n")
    assert json_of(home)["deaths"][0]["heartbeats"] is True
    made.hand("w3", "v2").ticks(2)
    made.write(home.journal)
    assert run(home).stdout.startswith("2 ticks, 2 turns ran, 10 ticks or heartbeats missed\n")


def test_a_heartbeat_that_was_made_twice_is_named_as_one(home: Home) -> None:
    made = JournalBuilder(seq=1199).begin().heartbeats(2)
    made.seq -= 1
    made.heartbeats(1).write(home.journal)
    assert "heartbeat 1201 ran twice" in run(home).stdout
