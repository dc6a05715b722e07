"""The benchmark measures what it says: few repeats, real workers, and nothing that depends on how fast they are."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest

from . import path, ticks
from .__main__ import KEYS, main, whole
from .figure import Figure, Scale, merged, number, show
from .goals import compared, table
from .pictures import pictures
from .plot import Series, picture
from .run import Measure, Run, run
from .spread import spread

_SVG = "{http://www.w3.org/2000/svg}"
_SMALLEST = Scale(quick=True, handoffs=12, handoffs_large=4, rows=5000, seconds=0.2, restarts=1, deploys=1)


def test_handoffs_in_a_row_are_counted_from_the_journal(tmp_path: Path) -> None:
    found = ticks.measure(_SMALLEST, tmp_path).data["ticks_1khz"]
    assert found["handoffs"] == 12
    assert found["doubled"] == 0
    assert 0 < found["late_us"]["p50"] <= found["late_us"]["p99"] <= found["late_us"]["max"]


def test_the_steps_of_a_handoff_follow_one_another_to_its_end(tmp_path: Path) -> None:
    figure = path.measure(_SMALLEST, tmp_path)
    ends = [float(cells[-1].replace(",", "")) for cells in figure.rows]
    assert ends == sorted(ends)
    assert ends[0] > 0


def test_a_picture_has_every_point_and_names_what_it_shows() -> None:
    drawn = picture("late & early", "s", "µs", [Series("<ticks>", [(0, 1), (1, 10), (2, 0)], dots=True)])
    root = ElementTree.fromstring(drawn)
    names = [element.text for element in root.iter(f"{_SVG}text")]
    assert {"late & early", "s", "µs", "<ticks>"} <= set(names)
    assert len(list(root.iter(f"{_SVG}circle"))) == 3


def test_pictures_show_the_handoff_and_each_size(tmp_path: Path) -> None:
    marks: dict[str, list[tuple[float, float]]] = {
        "late: imports nothing": [(-0.5, 90.0), (0.5, 120.0)],
        "handoff: imports nothing": [(0.2, 310.0)],
        "size: neverblink": [(1_000_000, 420.0), (100, 400.0), (10_000, 410.0)],
        "size: Erlang/OTP": [(100, 1200.0), (1_000_000, 400_000.0)],
        "floor: a bare message": [(0, 150.0)],
    }
    lateness, blackout = pictures([Figure("", (), marks=marks)], tmp_path)
    assert "a blackout of 310 µs" in lateness.read_text()
    root = ElementTree.fromstring(blackout.read_text())
    texts = [(element.text or "", float(element.get("x", "0"))) for element in root.iter(f"{_SVG}text")]
    words = [text for text, _ in texts]
    assert {"400", "410", "420", "1,200", "400,000", "Erlang/OTP", "a bare message"} <= set(words)
    width = float(root.get("width", "0"))
    # Nothing is cut off on the right: the legend is there to be read.
    assert all(x + 6 * len(text) < width for text, x in texts if text in ("Erlang/OTP", "a bare message"))
    line = next(root.iter(f"{_SVG}polyline")).get("points", "").split()
    across = [float(point.split(",")[0]) for point in line]
    assert across == sorted(across)


def test_without_points_there_is_no_picture(tmp_path: Path) -> None:
    assert pictures([Figure("", ())], tmp_path) == []


def test_the_values_on_an_axis_are_distinct() -> None:
    drawn = picture("", "s", "µs", [Series("ticks", [(-0.4, 20), (1.1, 900)], dots=True)])
    names = [element.text for element in ElementTree.fromstring(drawn).iter(f"{_SVG}text")]
    assert {"-0.4", "0", "0.2", "1", "10", "100", "1,000"} <= set(names)
    assert len(names) == len(set(names))


def test_a_spread_is_the_median_the_99th_percentile_and_the_worst() -> None:
    found = spread(range(1000))
    assert (found.p50, found.p99, found.max) == (500, 990, 999)
    assert spread([7]).p99 == 7


def test_a_figure_that_fails_is_named_and_the_others_are_measured(tmp_path: Path) -> None:
    def broken(scale: Scale, tmp: Path) -> Figure:
        subprocess.run(
            [sys.executable, "-c", "import sys; sys.exit('no\\nroom left')"],
            check=True,
            stderr=subprocess.PIPE,
        )
        raise AssertionError("that failed")

    def good(scale: Scale, tmp: Path) -> Figure:
        return Figure("Good", ("",), data={"failover_ms": {"standby": 1}})

    output = StringIO()
    done = run({"first": good, "second": broken, "third": good}, _SMALLEST, output)
    assert [figure.title for figure in done.figures] == ["Good", "Good"]
    assert list(done.failed) == ["second"]
    [line] = [line for line in output.getvalue().splitlines() if "could not be measured" in line]
    assert line.startswith("second could not be measured: CalledProcessError: ")
    assert line.endswith("It said: room left")
    found = whole(done)
    assert found["failed"] == done.failed
    assert found["failover_ms"] == {"standby": 1}
    assert found["blackout_us"] is None
    assert "second could not be measured" in show(table(found))


def test_the_exit_code_tells_whether_something_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(scale: Scale, tmp: Path) -> Figure:
        raise OSError("no such device")

    def fine(scale: Scale, tmp: Path) -> Figure:
        return Figure("Fine", ())

    figures: dict[str, Measure] = {"fine": fine, "broken": broken}
    assert main(["--json", "fine"], figures) == 0
    assert main(["--json"], figures) == 1
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["failed"] == {"broken": "OSError: no such device"}
    assert "Traceback" not in err


def test_a_goal_is_reached_or_missed_or_was_not_measured() -> None:
    small = {"p50": 250, "p99": 1001}
    found = whole(
        Run([Figure("", (), data={"blackout_us": {"small": small}, "memory_mb": {"supervisor": 40}})])
    )
    goals = compared(found)
    assert goals["1: blackout, small state, p50"]["verdict"] == "reached"
    assert goals["1: blackout, small state, p99"]["verdict"] == "missed"
    assert goals["1: Erlang's with 100 entries, over it"]["verdict"] == "not measured"
    assert goals["7: supervisor, memory"]["verdict"] == "missed"
    shown = show(table({**found, "erlang_us": {"100": {"p50": 750}}})).splitlines()
    [line] = [line for line in shown if "Erlang" in line]
    assert " ".join(line.split()) == "1: Erlang's with 100 entries, over it ≥ 3 times 3.00 reached"


def test_two_figures_can_each_fill_a_part_of_one_key() -> None:
    figures = [Figure("", (), data={"blackout_us": {name: 1}}) for name in ("small", "table_1m")]
    assert merged(figures) == {"blackout_us": {"small": 1, "table_1m": 1}}
    assert "blackout_us" in KEYS


def test_a_table_is_aligned_and_says_what_was_left_out() -> None:
    shown = show(
        Figure(
            "A title, µs", ("p50",), [("long name", number(1234.5)), ("n", number(0.25))], notes=["no erl"]
        )
    )
    assert shown.splitlines() == [
        "A title, µs",
        "               p50",
        "  long name  1,234",
        "  n           0.25",
        "  (no erl)",
    ]
