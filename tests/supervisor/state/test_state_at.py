"""The state at a point of the journal, found without the bot's code. The referee is the bot itself."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neverblink.protocol.errors import NeverblinkError
from neverblink.protocol.journal import HEADER_SIZE, Entry, RecordKind, pack_record, scan
from neverblink.protocol.state.path import parse
from neverblink.supervisor.audit.scope import Moment, Seq
from neverblink.supervisor.state.decisions import decisions_since
from neverblink.supervisor.state.point import (
    BadPoint,
    InDecision,
    Now,
    Number,
    Point,
    ReleasePoint,
    parse_point,
)
from neverblink.supervisor.state.reader import StateReader
from neverblink.supervisor.state.state_at import StateAt, StateNotKnown, state_at
from neverblink.supervisor.store.state_dir import Home
from neverblink.worker import Table, Worker
from neverblink.worker.journal.directory import JournalDirectory
from tests.worker.file_limit import file_size_limit
from tests.worker.journaling_leader import START, Book, JournalingLeader, Keeps, Row


class Remembers(Keeps):
    """Notes, beside the journal, what it was after each tick."""

    history: dict[int, Any]

    def on_tick(self, tick: Any) -> None:
        super().on_tick(tick)
        state = self.state
        self.history[tick.seq] = (
            state.count,
            dict(state.notes),
            {key: msgspec.to_builtins(row) for key, row in state.rows.items()},
        )


def led(directory: Path, ticks: int, **options: Any) -> tuple[JournalingLeader, dict[int, Any]]:
    class Noting(Remembers):
        history: dict[int, Any] = {}

    return JournalingLeader(directory, Noting, **options).ticks(ticks), Noting.history


def content_of(found: StateAt) -> Any:
    look = found.values.look
    return look(("count",)), look(("notes",)), look(("rows",))


def refusals(journal: Path, history: dict[int, Any]) -> list[str]:
    """Why ticks are refused; those that are not have the state that the bot had."""
    refused: list[str] = []
    for seq, was in history.items():
        try:
            found = state_at(journal, Seq(seq))
        except StateNotKnown as problem:
            refused.append(problem.message)
        else:
            assert content_of(found) == was
    return refused


def test_the_state_at_every_tick_is_what_the_bot_was_after_it(tmp_path: Path) -> None:
    _, history = led(tmp_path / "journal", 400)
    assert len(list((tmp_path / "journal").glob("*.journal"))) > 3
    for seq, was in history.items():
        found = state_at(tmp_path / "journal", Seq(seq))
        assert (found.seq, content_of(found)) == (seq, was)
        assert list(content_of(found)[2]) == list(was[2]), "the rows are in another order"


def test_now_is_what_the_bot_is(tmp_path: Path) -> None:
    leader, history = led(tmp_path / "journal", 60)
    found = state_at(tmp_path / "journal", Now())
    assert content_of(found) == history[found.seq]
    assert (found.number, found.worker, found.release) == (leader.replica.number, "w1", "v1")


def test_a_time_between_two_ticks_gives_the_state_after_the_one_before(tmp_path: Path) -> None:
    led(tmp_path / "journal", 50)
    one = state_at(tmp_path / "journal", Seq(state_at(tmp_path / "journal", Now()).seq - 10))
    between = state_at(tmp_path / "journal", Moment(one.at + 1_000_000))
    assert (between.number, content_of(between)) == (one.number, content_of(one))
    assert state_at(tmp_path / "journal", Moment(one.at - 1)).number == one.number - 1


def test_a_frame_is_found_by_its_number(tmp_path: Path) -> None:
    leader, _ = led(tmp_path / "journal", 50)
    for number in (0, 1, leader.replica.number // 2, leader.replica.number):
        assert state_at(tmp_path / "journal", Number(number)).number == number


def test_a_decision_gives_the_state_in_which_it_was_taken(tmp_path: Path) -> None:
    _, history = led(tmp_path / "journal", 60)
    last = max(history)
    id = next(iter(history[last][1]))
    seq = int(id.split("-")[1])
    found = state_at(tmp_path / "journal", InDecision(id, seq))
    assert content_of(found) == history[seq - 1], "not what it was when it decided"
    with pytest.raises(StateNotKnown, match="no decision 1-2-99"):
        state_at(tmp_path / "journal", InDecision("1-2-99", 2))


def test_a_release_stands_for_the_last_state_that_it_left(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    leader, first = led(journal, 30)
    leader.stop()
    left = state_at(journal, Now()).number
    led(journal, 30, worker="w2", at=START + 10**9)
    assert state_at(journal, ReleasePoint("v1")).number > left
    with pytest.raises(StateNotKnown, match="release v0 has not led"):
        state_at(journal, ReleasePoint("v0"))
    assert max(first) < state_at(journal, ReleasePoint("v1", leads=True)).seq


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (Seq(1), "the journal begins with tick"),
        (Moment(START - 10**12), "the journal begins with tick"),
        (Number(0), "the journal begins with tick"),
        (Seq(10**15), "has not run yet: the last one is tick"),
        (Number(10**9), "has not run yet: the last one is frame"),
    ],
)
def test_a_point_outside_of_what_is_kept_is_refused_with_what_there_is(
    tmp_path: Path, point: Point, words: str
) -> None:
    journal = tmp_path / "journal"
    led(journal, 400, keep=20_000)
    assert not (journal / "00000001.journal").exists(), "nothing was pruned"
    with pytest.raises(StateNotKnown, match=words):
        state_at(journal, point)


def test_a_time_before_the_bot_began_is_refused(tmp_path: Path) -> None:
    led(tmp_path / "journal", 5)
    with pytest.raises(StateNotKnown, match="the bot began at"):
        state_at(tmp_path / "journal", Moment(START - 10**9))


def test_a_tick_before_the_bots_first_is_refused_with_the_first(tmp_path: Path) -> None:
    _, history = led(tmp_path / "journal", 5)
    with pytest.raises(StateNotKnown, match=f"before the bot's first one: that was tick {min(history)}"):
        state_at(tmp_path / "journal", Seq(5))
    assert state_at(tmp_path / "journal", Seq(min(history))).seq == min(history)


def test_without_a_journal_the_error_names_what_begins_one(tmp_path: Path) -> None:
    with pytest.raises(StateNotKnown, match="neverblink up"):
        state_at(tmp_path, Now())


def test_a_torn_tail_is_left_out(tmp_path: Path) -> None:
    _, history = led(tmp_path / "journal", 50)
    newest = max((tmp_path / "journal").glob("*.journal"))
    newest.write_bytes(newest.read_bytes()[:-7])
    found = state_at(tmp_path / "journal", Now())
    assert found.seq in (max(history), max(history) - 1)
    assert content_of(found) == history[found.seq]


def test_a_point_in_a_damaged_stretch_is_refused_with_the_nearest_states(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    _, history = led(journal, 400)
    paths = sorted(journal.glob("*.journal"))
    damaged = paths[len(paths) // 2]
    data = bytearray(damaged.read_bytes())
    data[-600] ^= 0xFF
    damaged.write_bytes(data)
    refused = refusals(journal, history)
    assert 0 < len(refused) < 10
    assert all(f"segment {int(damaged.stem)} is damaged" in refusal for refusal in refused)
    assert all("the nearest states are tick" in refusal for refusal in refused)


def test_a_segment_that_is_missing_is_a_gap(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    _, history = led(journal, 400)
    paths = sorted(journal.glob("*.journal"))
    paths[len(paths) // 2].unlink()
    refused = refusals(journal, history)
    assert 0 < len(refused) < len(history) // 2
    assert all("one is missing" in refusal for refusal in refused)


# another type of state


class Lot(msgspec.Struct, frozen=True, array_like=True):
    size: Decimal
    at: datetime
    mark: bytes = b"\x00\xff"


class Odd(msgspec.Struct):
    worth: float = float("nan")
    lots: dict[int, Lot] = {}
    anything: Any = None
    rows: Table[int, Lot] = msgspec.field(default_factory=Table)


class KeepsOdd(Worker[Odd]):
    tick = "10ms"

    def on_tick(self, tick: Any) -> None:
        lot = Lot(Decimal("1.50"), datetime(2026, 11, 24, 9, tzinfo=UTC))
        self.state.lots = {7: lot}
        self.state.rows[9] = lot
        self.state.anything = {1: b"x", 2: datetime(2026, 11, 24, 9, tzinfo=UTC)}


def test_values_have_the_names_and_forms_that_their_types_say(tmp_path: Path) -> None:
    JournalingLeader(tmp_path / "journal", KeepsOdd).ticks(3)
    values = state_at(tmp_path / "journal", Now()).values
    lot = {"size": "1.50", "at": "2026-11-24T09:00:00Z", "mark": "AP8="}
    assert values.look(()) == {
        "worth": {"$float": "nan"},
        "lots": {"7": lot},
        "anything": {"$map": [[1, {"$bytes": "eA=="}], [2, {"$datetime": "2026-11-24T09:00:00Z"}]]},
        "rows": {"9": lot},
    }
    for text in ("rows[9].size", "rows.9.size", "lots[7].size", "lots.7.size"):
        assert values.look(parse(text)) == "1.50"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("lot", "did you mean lots?"),
        ("rows.8", "there is no 8 in rows"),
        ("rows[9].sise", "did you mean rows[9].size?"),
        ("worth.x", "which has no parts"),
        ("lots[", "at character 6"),
        ("rows[100000000000000000000000000]", "there is no [100000000000000000000000000] in rows"),
        (f"rows.{'9' * 5000}", "in rows: it has 9"),
        ("rows[true]", "there is no [true] in rows"),
        ("zzz", "it has worth, lots, anything, rows"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_with_what_was_meant(
    tmp_path: Path, path: str, words: str
) -> None:
    JournalingLeader(tmp_path / "journal", KeepsOdd).ticks(3)
    values = state_at(tmp_path / "journal", Now()).values
    with pytest.raises(NeverblinkError) as raised:
        values.look(parse(path))
    assert words in raised.value.message


class Wider(msgspec.Struct):
    count: int = 0
    notes: dict[str, int] = {}
    rows: Table[str, Row] = msgspec.field(default_factory=Table)
    more: str = "new"


class KeepsWider(Worker[Wider]):
    tick = "10ms"

    def on_tick(self, tick: Any) -> None:
        self.state.count += 1


def test_after_a_change_of_the_states_type_it_is_read_by_the_new_one(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    leader, history = led(journal, 30)
    leader.stop()
    later = JournalingLeader(journal, KeepsWider, worker="w2", at=START + 10**9).ticks(20)
    found = state_at(journal, Now())
    assert found.schema == later.replica.schema
    assert found.values.look(("more",)) == "new"
    assert found.values.look(("count",)) == later.replica.state.count
    before = state_at(journal, Seq(max(history)))
    assert "more" not in before.values.names
    assert content_of(before) == history[max(history)]
    assert isinstance(Book(), Book)


def forget_types(journal: Path) -> None:
    """Turn the journal into one by an earlier neverblink: its snapshots have neither types nor release."""
    for path in journal.glob("*.journal"):
        data = path.read_bytes()
        written = data[:HEADER_SIZE]
        for entry in scan(data):
            assert isinstance(entry, Entry)
            payload = entry.payload
            if entry.kind is RecordKind.SNAPSHOT:
                payload = msgspec.msgpack.encode(msgspec.msgpack.decode(payload)[:-2])
            written += pack_record(entry.kind, payload)
        path.write_bytes(written)


def test_a_journal_without_types_is_read_by_its_plain_values(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    JournalingLeader(journal, KeepsOdd).ticks(3).stop()
    forget_types(journal)
    values = state_at(journal, Now()).values
    assert values.types == {}
    assert values.look(parse("rows[9]"))[0] == "1.50"
    assert values.look(parse("rows[9]"))[2] == {"$bytes": "AP8="}
    reader = StateReader(Home(tmp_path))
    assert reader.show("", "").fields is not None
    assert reader.compare("frame:0", "").total


def test_the_next_leader_writes_the_types_at_once(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    JournalingLeader(journal, KeepsOdd).ticks(3).stop()
    forget_types(journal)
    segments = len(list(journal.glob("*.journal")))
    JournalingLeader(journal, KeepsOdd, worker="w2", at=START + 10**9).ticks(5).stop()
    assert len(list(journal.glob("*.journal"))) == segments + 1
    assert state_at(journal, Now()).values.look(parse("rows[9].size")) == "1.50"
    JournalingLeader(journal, KeepsOdd, worker="w3", at=START + 2 * 10**9).ticks(5)
    assert len(list(journal.glob("*.journal"))) == segments + 1, "it begins one for each leader"


def test_no_journal_is_read_between_the_takeover_and_the_first_tick(tmp_path: Path) -> None:
    """No worker ticks in that time, so the look at the segment's types waits."""
    directory = tmp_path / "journal"
    JournalingLeader(directory, KeepsOdd).ticks(3).stop()
    forget_types(directory)
    happened: list[str] = []

    class Noted(KeepsOdd):
        def on_lead(self, in_doubt: Any) -> None:
            happened.append("on_lead")

        def on_tick(self, tick: Any) -> None:
            happened.append("on_tick")
            super().on_tick(tick)

    class NotedJournal(JournalDirectory):
        def read(self, *where: Any, **how: Any) -> Any:
            happened.append("read")
            return super().read(*where, **how)

    journal = NotedJournal(directory, "process")
    JournalingLeader(directory, Noted, worker="w2", at=START + 32_000_000, journal=journal).ticks(5).stop()
    taken_over = happened.index("on_lead")
    assert happened[taken_over + 1] == "on_tick"
    assert "read" in happened[taken_over:], "it looks at the types once, and after the first tick"


def test_a_point_is_written_as_people_name_it(tmp_path: Path) -> None:
    now = START
    releases = {
        "20261124": ReleasePoint("20261124T090000Z-7d3d2c7a"),
        "current": ReleasePoint("r", leads=True),
    }
    for text, point in {
        "": Now(),
        " now ": Now(),
        "1795533": Seq(1795533),
        "frame:812": Number(812),
        "10m": Moment(now - 600 * 10**9),
        "3-1795-0": InDecision("3-1795-0", 1795),
        "current": releases["current"],
        "2100-01-01T00:00:00": BadPoint,
        "yesterday": BadPoint,
        "frame:x": BadPoint,
    }.items():
        if point is BadPoint:
            with pytest.raises(BadPoint):
                parse_point(text, now, releases.get)
        else:
            assert parse_point(text, now, releases.get) == point


def test_decisions_since_a_point_have_their_outcomes(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    leader, history = led(journal, 60)
    ids = [next(iter(was[1])) for was in history.values() if was[1]]
    every = list(dict.fromkeys(ids))
    since = decisions_since(journal, -1)
    assert [entry.id for entry in since] == every
    assert {entry.outcome for entry in since} == {"done"}
    point = state_at(journal, Seq(int(every[2].split("-")[1])))
    assert [entry.id for entry in decisions_since(journal, point.number)] == every[3:]
    assert decisions_since(journal, leader.replica.number) == []


def test_a_point_at_which_the_journal_could_not_be_written_is_refused_with_the_nearest_ones(
    tmp_path: Path,
) -> None:
    class Noting(Remembers):
        history: dict[int, Any] = {}
        rows = 20

    leader = JournalingLeader(tmp_path / "journal", Noting, segment=1 << 20).ticks(5)
    with file_size_limit(64):
        leader.ticks(10)
    while leader.engine.leading.writer.failing is not None:
        leader.ticks()
    leader.ticks(5)
    refused = refusals(tmp_path / "journal", Noting.history)
    assert 9 <= len(refused) < len(Noting.history)
    assert all("could not be written" in refusal for refusal in refused)
    assert all("the nearest states are tick" in refusal for refusal in refused)
