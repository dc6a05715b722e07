from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from neverblink.protocol.events import DeploymentEnded
from neverblink.protocol.link import SettingsNow
from neverblink.protocol.status import (
    BotStatus,
    DecisionSeen,
    DeploymentSeen,
    Failure,
    JournalSeen,
    Locked,
    SupervisorSeen,
    WindowSeen,
    WorkerSeen,
)
from neverblink.supervisor.cli.command_group import neverblink
from neverblink.supervisor.cli.exit_codes import Exit
from neverblink.supervisor.cli.status import picture
from neverblink.supervisor.terminal.screen import Screen

from ..fake_supervisor import FakeSupervisor

S = 1_000_000_000
NOW = 1_795_532_400 * S

QUIET = BotStatus(
    version=1, bot="foresight", state="running", reason="", at=NOW, home="/srv/.neverblink",
    worker="w5", release="v2", pid=4321, epoch=7, python="3.13.1", since=NOW - 192 * S, seq=1795532399, reported=NOW,
    interval=S, ticks=192, skipped=0, late_max=80_000, paused=False, settings=None, commands=(), slow="", journal=None,
    inbox=None, windows=(), decisions=(), workers=(), deployment=None, probation=None, last=None,
    lock=None, failure=None, outages=(), standby=None,
    supervisor=SupervisorSeen(1, "0.1.0", NOW - 3600 * S),
)  # fmt: skip


def shown(status: BotStatus) -> list[str]:
    return [" ".join(line.split()) for line in picture(status, Screen(io.StringIO(), {}))]


def seen(**more: Any) -> BotStatus:
    return msgspec.structs.replace(QUIET, **more)


def test_a_bot_without_incidents_is_shown() -> None:
    assert shown(QUIET) == [
        "foresight running v2",
        "leader w5, pid 4321, python 3.13.1, epoch 7, leads for 3m12s",
        "tick 1795532399, one every 1s, 192 ticks run by this worker, 0 skipped, worst lateness 0.08 ms",
    ]


def test_an_event_driven_bot_is_shown_by_its_turns() -> None:
    assert shown(seen(event_driven=True, turns=1234, ticks=0))[2] == (
        "turns 1,234 turns run by this worker, which is event-driven (no ticks), a heartbeat every 1s, 0 skipped, "
        "worst lateness 0.08 ms"
    )


def test_an_unwritable_or_damaged_journal_is_shown() -> None:
    failing = JournalSeen(3, 4711, "the disk is full: free some space", NOW - 90 * S, 9000, "")
    assert shown(seen(journal=failing))[3:] == [
        "journal cannot be written for 1m30s, 9,000 frames not written: the disk is full: free some space"
    ]
    mended = JournalSeen(3, 4711, "", 0, 0, "it goes to frame 7, tick 5; segment 2 is damaged at byte 99")
    assert shown(seen(journal=mended))[3:] == [
        "journal it goes to frame 7, tick 5; segment 2 is damaged at byte 99"
    ]
    assert len(shown(seen(journal=JournalSeen(3, 4711, "", 0, 0, "")))) == 3


def test_fields_that_are_not_read_back_are_named_with_the_mend() -> None:
    (line,) = shown(seen(unverified=("model", "orders")))[3:]
    assert line == (
        "state not read back: model, orders: this takes longer than the time between two turns; make it a Table or "
        "smaller fields"
    )


def test_the_pause_the_settings_and_the_commands_are_shown() -> None:
    now = SettingsNow({"max_position": 3, "mode": "slow"}, ("max_position",))
    output = shown(seen(state="paused", paused=True, settings=now, commands=("buy", "close")))
    assert output[0] == "foresight paused v2"
    assert output[3:] == [
        "paused no new entries, exits continue, until `neverblink resume`",
        'settings max_position = 3, mode = "slow"',
        "commands buy, close: see `neverblink commands`",
    ]


def test_a_bot_with_everything_at_once_is_shown() -> None:
    lines = shown(
        seen(
            state="paused",
            windows=(
                WindowSeen("15m", NOW - S, NOW + 4 * S, True, True),
                WindowSeen("5m", NOW + 123 * S, NOW + 138 * S, False, False),
            ),
            decisions=(DecisionSeen("7-1-0", "enter", NOW - 1_200_000_000, 1_200_000_000, "w5"),),
            workers=(
                WorkerSeen("w5", "v2", 4321, "leading", 7, 9, True, 1, 1, "", "w5.log"),
                WorkerSeen("w6", "v3", 4322, "following", 7, 9, True, 1, 1, "", "w6.log"),
            ),
            deployment=DeploymentSeen(
                4, "waiting", NOW - 3 * S, "decision enter", "v3", "v2", False, "anna", "", NOW - 5 * S
            ),
            last=DeploymentEnded(
                bot="foresight", at=NOW - 7200 * S, deployment=3, outcome="rolled_back", reason="exit 1", leader="w5",
                release="v2", seq=1795525199, blackout=210_000,
            ),
            lock=Locked("anna", "release freeze", NOW - 300 * S),
        )
    )  # fmt: skip
    assert lines[0] == "foresight paused v2"
    assert lines[3:] == [
        "window 15m is open, closes in 4 s",
        "window 5m opens in 2m03s (not protected)",
        "decision enter (7-1-0) has been open for 1.2 s",
        "under way deployment 4 is waiting, held by decision enter, for 3 s: v3",
        "last deployment 3 rolled back 2h00m ago, at tick 1795525199, blackout 0.21 ms: exit 1",
        "locked release freeze, by anna 5m00s ago",
        "worker w5 leading pid 4321 v2",
        "worker w6 following pid 4322 v3",
    ]


def test_of_two_deployments_the_one_in_its_probation_is_shown_first() -> None:
    in_probation = DeploymentSeen(6, "probation", NOW - 4 * S, "", "v3", "v2", False, "anna", "", NOW - 9 * S)
    held = "the probation of deployment 6"
    next_ = DeploymentSeen(7, "prepared", NOW - S, held, "v4", "v3", False, "ben", "", NOW - 3 * S)
    assert shown(seen(deployment=next_, probation=in_probation))[3:] == [
        "under way deployment 6 is probation, for 4 s: v3",
        "under way deployment 7 is prepared, held by the probation of deployment 6, for 1 s: v4",
    ]


def test_a_bot_that_is_down_is_shown_with_the_reason_and_exit_code(tmp_path: Path) -> None:
    failure = Failure("w5", "v2", "ValueError: no price", NOW - 60 * S, "/srv/w5.log")
    down = seen(
        state="down", reason="worker w5 ended: ValueError: no price", worker="", release="", failure=failure
    )
    assert shown(down) == [
        "foresight down worker w5 ended: ValueError: no price",
        "leader none: no worker leads",
        "failed w5 1m00s ago: ValueError: no price (log: /srv/w5.log)",
    ]
    with FakeSupervisor(tmp_path, {"status": msgspec.to_builtins(down)}):
        result = CliRunner().invoke(neverblink, ["status", "--home", str(tmp_path), "--json"])
    assert result.exit_code == Exit.DOWN
    assert msgspec.json.decode(result.stdout, type=BotStatus) == down
