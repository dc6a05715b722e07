"""journal show, verify and export, as they are typed and as they are read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from neverblink.protocol.frame import Changes, Item, Traffic
from neverblink.protocol.journal import Rows, Unwritten
from neverblink.supervisor.cli.command_group import neverblink
from neverblink.supervisor.cli.exit_codes import Exit
from neverblink.supervisor.store.state_dir import Home

from ..audit.journal_builder import SECOND, JournalBuilder


def run(home: Home, *args: str) -> Result:
    return CliRunner().invoke(neverblink, ["journal", *args, "--home", str(home.path)])


def json_of(home: Home, *args: str) -> dict[str, Any]:
    result = run(home, *args, "--json")
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def lines(home: Home, *args: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(home, "export", *args).stdout.splitlines()]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture
def builder(home: Home) -> JournalBuilder:
    made = JournalBuilder().begin().receive("a").ticks(3).event("a").arm("t", 1301 * SECOND).ticks(2)
    made.conclude(made.decide()).tick()
    made.segment([Rows("candles", [(b"\xa3BTC", b"\x81\xa1c\x07")])]).ticks(4)
    return made


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


# --- show ---


def test_show_lists_the_range_of_each_segment(home: Home, builder: JournalBuilder) -> None:
    paths = builder.write(home.journal)
    one, two = json_of(home, "show")["segments"]
    assert (one["segment"], one["size"], one["state"], one["format"]) == (
        1,
        paths[0].stat().st_size,
        "whole",
        2,
    )
    assert (one["as_of"], one["first"], one["last"]) == (-1, 0, 7)
    assert (one["first_seq"], one["last_seq"]) == (-1, 1006)
    assert (two["as_of"], two["first"], two["last"], two["frames"], two["state"]) == (7, 8, 11, 4, "written")
    result = run(home, "show")
    assert result.exit_code == Exit.DONE
    assert "0 to 7" in result.stdout
    assert "1007 to 1010" in result.stdout
    assert "2 segments" in result.stdout


def test_show_distinguishes_torn_from_damaged(home: Home, builder: JournalBuilder) -> None:
    first, second = builder.write(home.journal)
    os.truncate(first, first.stat().st_size - 3)
    flip(second, 60)
    one, two = json_of(home, "show")["segments"]
    assert one["state"] == "torn"
    assert two["state"] == "damaged"
    assert two["problem"].startswith("at byte 16: ")


def test_a_missing_journal_is_reported_with_the_remedy(home: Home) -> None:
    for word in ("show", "verify", "export"):
        result = run(home, word)
        assert result.exit_code == Exit.BAD_INPUT
        assert "it begins with `neverblink up`" in result.stderr


def test_a_later_format_is_refused(home: Home, builder: JournalBuilder) -> None:
    path = builder.write(home.journal)[1]
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"\x07\x00\xf8\xff" + data[12:])
    for word in ("show", "verify", "export"):
        result = run(home, word)
        assert result.exit_code == Exit.BROKEN
        assert "written in format 7, this release reads up to 2" in result.stderr


# --- verify ---


def test_verify_finds_nothing_in_a_complete_journal(home: Home, builder: JournalBuilder) -> None:
    builder.write(home.journal)
    found = json_of(home, "verify")
    assert found["ok"]
    assert (found["segments"], found["frames"], found["first"], found["last"]) == (2, 12, 0, 11)
    assert run(home, "verify").stdout.startswith("whole  19 records in 2 segments")


def test_verify_finds_any_flipped_bit_and_names_its_place(home: Home, builder: JournalBuilder) -> None:
    path = builder.write(home.journal)[0]
    data = path.read_bytes()
    for at in range(0, len(data), 37):
        flip(path, at)
        result = run(home, "verify", "--json")
        found = json.loads(result.stdout)
        assert result.exit_code == Exit.BROKEN, at
        first = found["problems"][0]
        assert (first["segment"], first["offset"] <= at) == (1, True)
        path.write_bytes(data)


def test_verify_reports_a_missing_segment_a_lost_frame_and_a_broken_chain(
    home: Home, builder: JournalBuilder
) -> None:
    builder.segment().ticks(2)
    paths = builder.write(home.journal)
    paths[1].unlink()
    problems = [item["problem"] for item in json_of(home, "verify")["problems"]]
    assert problems[0] == "segment 3 comes after segment 1: one is missing"
    assert problems[1] == "segment 3 opens with the state as of frame 11, and the frames before it end with 7"
    del builder.records[-2]
    builder.write(home.journal)
    (problem,) = json_of(home, "verify")["problems"]
    assert problem["problem"] == "frame 12 missing"


def test_a_torn_tail_and_unwritten_frames_are_not_faults(home: Home, builder: JournalBuilder) -> None:
    skipped = builder.number
    held = list(builder.records)
    builder.ticks(3)
    builder.records[:] = held
    builder.segment(unwritten=Unwritten(skipped, 5 * SECOND, "the disk is full")).ticks(2)
    paths = builder.write(home.journal)
    os.truncate(paths[-1], paths[-1].stat().st_size - 1)
    found = json_of(home, "verify")
    assert found["ok"], found["problems"]
    assert found["torn"][0]["segment"] == 3
    assert found["unwritten"][0]["problem"] == f"frames {skipped + 1} to {skipped + 3}: the disk is full"
    assert "not written: frames" in run(home, "verify").stdout


# --- export ---


def test_export_writes_everything_once_as_plain_data(home: Home, builder: JournalBuilder) -> None:
    waiting = Item("b", "event", b"\x81\xa3pct\x02", 7)
    builder.tick(
        changes=Changes(
            {"n": b"\x93\x01\x02\x03"}, {"candles": [(b"\xa3BTC", b"\x81\xa1c\x08"), (b"\xa3ETH", None)]}
        ),
        traffic=Traffic(("b",), (), 0, (waiting,)),
    )
    builder.write(home.journal)
    found = lines(home)
    assert [item["kind"] for item in found] == [
        "snapshot",
        *["frame"] * 7,
        "opened",
        "closed",
        *["frame"] * 6,
    ]
    frames = [item for item in found if item["kind"] == "frame"]
    assert [frame["number"] for frame in frames] == list(range(13))
    assert frames[0]["turn"] == "lead"
    assert frames[0]["about"]["worker"] == "w1"
    assert frames[4]["turn"] == "event"
    assert frames[4]["traffic"]["applied"] == ["a"]
    assert frames[5]["timers"] == {"t": {"due": 1301 * SECOND, "every": 0}}
    last = frames[-1]
    assert last["changes"] == {
        "cells": {"n": [1, 2, 3]},
        "tables": {"candles": [["BTC", {"c": 8}], ["ETH", None]]},
    }
    assert last["traffic"]["waiting"][0]["data"] == {"pct": 2}
    assert last["prev"] == frames[-2]["digest"]
    opened = next(item for item in found if item["kind"] == "opened")
    assert (opened["name"], opened["seq"]) == ("enter", 1005)


def test_export_takes_a_span_and_with_snapshots_the_state(home: Home, builder: JournalBuilder) -> None:
    builder.write(home.journal)
    found = lines(home, "--since", "1005", "--until", "1008")
    assert [item["seq"] for item in found if item["kind"] == "frame"] == [1005, 1006, 1007, 1008]
    assert run(home, "export", "--since", "1008", "--until", "1005").exit_code == Exit.BAD_INPUT
    kinds = [line["kind"] for line in lines(home, "--snapshots")]
    assert kinds.count("snapshot") == 2
    (rows,) = [line for line in lines(home, "--snapshots") if line["kind"] == "rows"]
    assert rows["rows"] == [["BTC", {"c": 7}]]


def test_export_reports_damage_and_continues(home: Home, builder: JournalBuilder) -> None:
    path = builder.write(home.journal)[0]
    flip(path, path.stat().st_size - 1)
    found = lines(home)
    (damage,) = [item for item in found if item["kind"] == "damage"]
    assert damage["segment"] == 1
    assert found[-1]["number"] == 11
