from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from neverblink.supervisor.system.format import ago, count, last, size
from neverblink.supervisor.system.tail import LogTail, last_lines
from neverblink.supervisor.terminal.screen import Screen, columns

S = 1_000_000_000


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ms"), (640, "640 ns"), (52_300, "0.052 ms"), (210_000, "0.21 ms"), (12_000_000, "12 ms"),
        (84_310_000, "84.3 ms"), (999_600_000, "1 s"), (3_140_000_000, "3.14 s"), (59_960_000_000, "1m00s"),
        (123 * S, "2m03s"), (3600 * S, "1h00m"), (11_520 * S, "3h12m"), (187_200 * S, "2d04h"), (-5_000_000, "-5 ms"),
    ],
)  # fmt: skip
def test_a_duration_has_significant_digits_only(ns: int, text: str) -> None:
    assert last(ns) == text


def test_sizes_counts_and_past_times_are_formatted() -> None:
    assert [size(n) for n in (0, 312, 1000, 1_240_000, 5_000_000_000)] == [
        "0 B",
        "312 B",
        "1 kB",
        "1.24 MB",
        "5 GB",
    ]
    assert [count(n, "row") for n in (0, 1, 10_240)] == ["0 rows", "1 row", "10,240 rows"]
    assert [ago(0, at) for at in (S, 12 * S, 300 * S)] == ["just now", "12 s ago", "5m00s ago"]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    bold = Screen(io.StringIO(), {"FORCE_COLOR": "1"}).style("aaa", bold=True)
    assert columns([("a", "bb", "c"), (bold, "b", "cc")]) == ["a    bb  c", f"{bold}  b   cc"]
    assert columns([]) == []


def test_colour_is_used_only_on_terminals_that_allow_it() -> None:
    assert Screen(Terminal(), {}).colour
    assert not Screen(Terminal(), {"NO_COLOR": "1"}).colour
    assert not Screen(Terminal(), {"TERM": "dumb"}).colour
    assert not Screen(io.StringIO(), {}).colour
    assert Screen(io.StringIO(), {"FORCE_COLOR": "1"}).colour
    assert Screen(io.StringIO(), {}).good("x") == "x"


def test_a_live_line_stays_below_the_lines() -> None:
    out = Terminal()
    screen = Screen(out, {"NO_COLOR": "1"})
    screen.live("waiting")
    screen.line("one")
    screen.live("")
    assert out.getvalue() == "waiting\r\x1b[2Kone\nwaiting\r\x1b[2K"


def test_a_live_line_is_printed_once_without_a_terminal() -> None:
    out = io.StringIO()
    screen = Screen(out, {})
    for second in range(3):
        screen.live(f"waiting {second} s", gist="waiting")
    screen.live("")
    screen.live("waiting 4 s", gist="waiting")
    assert out.getvalue() == "waiting\nwaiting\n"


def test_a_tail_returns_complete_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "w1.log"
    tail = LogTail(path)
    assert list(tail.look()) == []
    path.write_bytes(b"one\ntw")
    assert list(tail.look()) == ["one"]
    with path.open("ab") as file:
        file.write(b"o\r\nth\xffree\n")
    assert list(tail.look()) == ["two", "th\ufffdree"]
    assert list(tail.look()) == []
    path.write_bytes(b"new\n")
    assert list(tail.look()) == ["new"]


def test_the_last_lines_of_a_file_come_with_the_position_to_continue_from(tmp_path: Path) -> None:
    path = tmp_path / "w1.log"
    lines = [f"line {n} {'x' * 50}" for n in range(5000)]
    path.write_text("\n".join(lines) + "\nunfinished")
    for wanted in (0, 1, 3, 4999, 5000, 9999):
        found, place = last_lines(path, wanted)
        assert found == lines[len(lines) - min(wanted, 5000) :]
        with path.open("ab") as file:
            file.write(b" now\n")
        assert list(LogTail(path, place).look()) == ["unfinished now"]
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 5)
    assert last_lines(tmp_path / "none", 3) == ([], (0, 0))


def test_a_large_file_without_a_newline_is_read_quickly_and_its_line_cut(tmp_path: Path) -> None:
    path = tmp_path / "w1.log"
    with path.open("wb") as file:
        for _ in range(45):
            file.write(b"x" * 1_000_000)
    began = time.monotonic()
    (line,), place = last_lines(path, 5)
    assert time.monotonic() - began < 2
    assert line.startswith("xxx")
    assert line.endswith("… (cut: 45,000,000 bytes or more)")
    with path.open("ab") as file:
        file.write(b"y\nnext\n")
    assert list(LogTail(path, place).look())[-1] == "next"
    assert [len(line) < 300_000 for line in LogTail(path).look()] == [True, True]


def test_the_last_lines_include_rotated_files(tmp_path: Path) -> None:
    path = tmp_path / "w1.log"
    (tmp_path / "w1.log.2").write_text("1\n2\n")
    (tmp_path / "w1.log.1").write_text("3\n4")
    path.write_text("5\n")
    assert last_lines(path, 4)[0] == ["2", "3", "4", "5"]
    assert last_lines(path, 99)[0] == ["1", "2", "3", "4", "5"]
    # A full disk can end a rotation in the middle.
    (tmp_path / "w1.log.1").unlink()
    (tmp_path / "w1.log.new").write_text("")
    assert last_lines(path, 99)[0] == ["1", "2", "5"]


def test_a_tail_continues_in_the_new_file_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "w1.log"
    path.write_text("1\n")
    tail = LogTail(path)
    assert list(tail.look()) == ["1"]
    with path.open("a") as file:
        file.write("2\n3")
    path.rename(tmp_path / "w1.log.2")
    (tmp_path / "w1.log.1").write_text("4\n")
    path.write_text("5\n")
    place = tail.place
    assert tail.behind() == 3 + 2 + 2
    assert list(tail.look()) == ["2", "3", "4", "5"]
    # So does one that is given the place.
    assert list(LogTail(path, place).look()) == ["2", "3", "4", "5"]
    # Moved to where it is not looked for.
    path.rename(tmp_path / "elsewhere")
    assert list(tail.look()) == []
    path.write_text("6\n")
    assert list(tail.look()) == ["6"]
