"""Handoffs of a live bot, in real processes."""

from __future__ import annotations

from .bots import COUNTER, bot
from .live import Live, unbroken


def test_ten_deployments_in_a_row_at_a_10_ms_tick_miss_and_repeat_no_tick(live: Live) -> None:
    live.up(live.code("v0", COUNTER, keep=20))
    for version in range(1, 10):
        done = live.deploy(live.code(f"v{version}", f"{COUNTER}# version {version}\n", keep=20))
        assert (done["outcome"], done["missed"]) == ("done", 0), done
    tenth = live.run("deploy", live.code("v10", COUNTER, keep=20), "--json")
    assert tenth.code == 0, tenth
    assert (tenth.json["outcome"], tenth.json["missed"]) == ("done", 0), tenth
    counted = live.book()["ticks"]
    live.down()
    audited = live.run("audit", "--json")
    assert audited.code == 0, audited
    report = audited.json
    assert report["ok"], report
    assert report["missed"] == report["doubled"] == 0, report
    assert report["chain"]["ok"], report
    assert [handoff["deployment"] for handoff in report["handoffs"]] == list(range(1, 11))
    assert all(handoff["blackout_us"] > 0 and handoff["late_us"] >= 0 for handoff in report["handoffs"])
    assert report["first"] < report["handoffs"][0]["seq"] < report["handoffs"][9]["seq"] < report["last"]
    ticks = live.printed("tick")
    unbroken(ticks, report)
    assert counted <= len(ticks) == report["ticks"]


def test_a_class_whose_handlers_block_for_half_a_tick_hands_over_without_a_missed_tick(live: Live) -> None:
    slow = bot(
        """
        def on_tick(self, tick):
            self.state.ticks += 1
            say(f"tick {tick.seq}")
            time.sleep(0.010)  # half a tick
        """,
        tick="20ms",
    )
    live.up(live.code("v0", slow, keep=20))
    for version in range(1, 4):
        live.deploy(live.code(f"v{version}", f"{slow}# version {version}\n", keep=20))
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    assert report["handoffs_total"] == 3
    unbroken(live.printed("tick"), report)


def test_a_bot_is_handed_over_to_another_python_version_and_back(live: Live, other_python: str) -> None:
    source = bot(
        """
        def on_start(self):
            say(f"python {sys.version_info.major}.{sys.version_info.minor}")

        def on_tick(self, tick):
            self.state.ticks += 1
            say(f"tick {tick.seq}")
        """,
        tick="50ms",
    )
    live.up(live.code("v0", source))
    first = live.status()["python"]
    done = live.run("deploy", live.code("v1", source), "--python", other_python)
    assert done.code == 0, done
    second = live.status()["python"]
    assert first.rpartition(".")[0] != second.rpartition(".")[0]
    # By the configuration that came with the code.
    live.deploy(live.code("v2", source))
    assert live.status()["python"] == first
    live.deploy(live.code("v3", source, python=other_python))
    assert live.status()["python"] == second
    # A release is gone back to with the interpreter it ran on.
    rolled = live.run("rollback", "--json")
    assert rolled.code == 0, rolled
    assert live.status()["python"] == first
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    assert report["handoffs_total"] == 4
    unbroken(live.printed("tick"), report)
    minor = [first.rpartition(".")[0], second.rpartition(".")[0]]
    assert live.printed("python") == [minor[0], minor[1], minor[0], minor[1], minor[0]]
