"""A state that an operator restores or sets, in a bot that leads: one turn, one frame, all of it or nothing."""

from __future__ import annotations

from collections import defaultdict, deque
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from neverblink.protocol.frame import Frame, decode_frame
from neverblink.protocol.journal import Entry, RecordKind
from neverblink.protocol.link import Answered, Run
from neverblink.protocol.state.values import StagedState
from neverblink.supervisor.audit.reader import read_journal
from neverblink.supervisor.state.point import Now, Number
from neverblink.supervisor.state.state_at import state_at
from neverblink.worker import Cell, Codec, Table, Worker
from neverblink.worker.replication.recovery import resume
from tests.worker.journaling_leader import JournalingLeader, bare, recovered


class Row(msgspec.Struct, frozen=True):
    n: int


class Book(msgspec.Struct):
    count: int = 0
    names: list[str] = []
    rows: Table[str, Row] = msgspec.field(default_factory=Table)
    tuples: Table[tuple[int, str], Row] = msgspec.field(default_factory=Table)


class Edited(Worker[Book]):
    """Writes a row each tick, in a new order, and arms a timer."""

    tick = "10ms"
    loaded = 0
    broken = False

    def on_load(self, state: Book) -> None:
        self.loaded += 1
        if self.broken:
            raise ValueError("cannot build")

    def on_tick(self, tick: Any) -> None:
        state = self.state
        state.count += 1
        state.names = [*state.names[-3:], f"n{state.count}"]
        state.rows.pop(f"r{state.count % 7}", None)
        state.rows[f"r{state.count % 7}"] = Row(state.count)
        state.tuples[state.count % 3, "x"] = Row(state.count)
        self.set_timer(f"t{state.count % 4}", after="1h")


def leader_in(journal: Path, **options: Any) -> JournalingLeader:
    return JournalingLeader(journal, Edited, **options).ticks(30)


def run(leader: JournalingLeader, key: str, name: str, **args: Any) -> Answered:
    """Have a command carried out, and return its answer."""
    leader.engine.ordered(Run(key, name, args))
    leader.ticks(2)
    return next(message for message in leader.sent() if isinstance(message, Answered) and message.key == key)


def staged(tmp_path: Path, journal: Path, number: int) -> Path:
    found = state_at(journal, Number(number))
    file = tmp_path / f"{number}.state"
    file.write_bytes(msgspec.msgpack.encode(found.values.staged(found.timers)))
    return file


def test_a_restore_brings_back_cells_rows_their_order_and_timers(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    leader = leader_in(journal)
    number = leader.replica.number
    point = state_at(journal, Number(number)).values
    wanted, order = point.look(()), list(point.tables["rows"])
    assert wanted["count"] == leader.replica.state.count
    timers = leader.replica.timers.all()
    leader.ticks(20)
    answered = run(leader, "1", "state-restore", file=str(staged(tmp_path, journal, number)))
    assert (answered.error, answered.fault) == ("", "")
    frame = answered.value["frame"]
    # The turn's own frame, before the tick after it.
    restored = state_at(journal, Number(frame + 1))
    assert restored.values.look(()) == wanted
    assert list(restored.values.tables["rows"]) == order
    assert restored.timers == timers
    undone = run(leader, "2", "state-restore", file=str(staged(tmp_path, journal, frame)))
    assert not undone.error
    for journal_now in recovered(journal, tmp_path / "aside"):
        again = bare(Book)
        resume(again, journal_now)
        assert again.state == leader.replica.state
        assert list(again.state.rows) == list(leader.replica.state.rows)


def test_only_what_differs_is_in_the_frame(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    leader = leader_in(journal)
    leader.engine.ordered(
        Run("1", "state-restore", {"file": str(staged(tmp_path, journal, leader.replica.number))})
    )
    frames: list[Frame] = []
    while not any(frame.traffic.applied for frame in frames):
        leader.ticks(1)
        frames = [
            decode_frame(item.payload)
            for item in read_journal(journal)
            if isinstance(item, Entry) and item.kind is RecordKind.FRAME
        ]
    turn = next(frame for frame in frames if frame.traffic.applied)
    assert turn.kind == "command"
    assert not turn.changes, "the state was restored to what it is"


def test_a_raising_on_load_undoes_it_and_leaves_the_next_frames_alone(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    leader = leader_in(journal)
    number = leader.replica.number
    leader.ticks(20)
    assert isinstance(leader.worker, Edited)
    leader.worker.broken = True
    before = state_at(journal, Now())
    file = staged(tmp_path, journal, number)
    leader.engine.ordered(Run("1", "state-restore", {"file": str(file)}))
    with pytest.raises(ValueError, match="cannot build"):
        # The harness passes on what a handler raises.
        leader.ticks(1)
    leader.ticks(1)
    turn = state_at(journal, Number(before.number + 1))
    assert turn.values.cells == before.values.cells
    assert list(turn.values.tables["rows"].items()) == list(before.values.tables["rows"].items())
    assert turn.timers == before.timers


def test_an_edit_that_fails_in_any_way_is_refused_and_the_bot_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = leader_in(tmp_path / "journal")

    def fails(*args: Any) -> Any:
        raise KeyError("a fault of ours, or of the bot's codec")

    monkeypatch.setattr("neverblink.worker.engine.state_edits.from_json", fails)
    answered = run(leader, "1", "state-set", path="count", value=7)
    assert answered.fault == "bad-input"
    assert "the state stays as it was: KeyError" in answered.error
    leader.ticks(2)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("", 1, "a path is missing"),
        ("count", "many", "expected a whole number, got text"),
        ("count.x", 1, "which has no parts"),
        ("rows", {}, "is a table"),
        ("rows.r1", {"n": "x"}, "expected a whole number"),
        ("rows.zz.n", 1, "there is no zz in rows"),
        ("names[9]", "x", "is a list of 4 items"),
        ("nanes", [], "did you mean names?"),
        ("tuples[1]", {"n": 1}, "tuples[1]"),
        ("count[", 1, "at character 7"),
        ("names[true]", "x", "is a list of 4 items"),
        ("tuples[[8]]", 1, "tuples[[8]]"),
        (f"rows.{'9' * 5000}.n", 1, "in rows"),
        ("rows[100000000000000000000000000]", {"n": 1}, "rows[100000000000000000000000000]"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_changes_nothing(
    tmp_path: Path, path: str, value: Any, words: str
) -> None:
    leader = leader_in(tmp_path / "journal")
    answered = run(leader, "1", "state-set", path=path, value=value)
    assert answered.fault == "bad-input"
    assert words in answered.error
    assert leader.engine.left is None


def test_values_are_set_in_cells_and_rows_by_any_key(tmp_path: Path) -> None:
    leader = leader_in(tmp_path / "journal")
    state = leader.replica.state
    answered = run(leader, "1", "state-set", path='tuples[[7, "y"]]', value={"n": 70})
    assert (answered.error, state.tuples[7, "y"]) == ("", Row(70))
    assert run(leader, "2", "state-set", path='tuples[[7, "y"]].n', value=71).value["old"] == 70
    assert state.tuples[7, "y"] == Row(71)
    assert run(leader, "3", "state-set", path="names", value=["a"]).error == ""
    assert "a" in state.names
    assert isinstance(leader.worker, Edited)
    assert leader.worker.loaded >= 3, "on_load did not run after each"


@pytest.mark.parametrize("content", [None, b"", b"\x91", msgspec.msgpack.encode({"schema": [1, ""]})])
def test_a_staged_state_that_is_not_there_or_damaged_is_refused(
    tmp_path: Path, content: bytes | None
) -> None:
    leader = leader_in(tmp_path / "journal")
    file = tmp_path / "x.state"
    if content is not None:
        file.write_bytes(content)
    answered = run(leader, "1", "state-restore", file=str(file))
    assert answered.fault == "bad-input"
    assert "ask for the restore again" in answered.error
    leader.ticks(2)


def test_a_change_that_no_frame_could_carry_is_refused(tmp_path: Path) -> None:
    leader = leader_in(tmp_path / "journal", segment=1 << 30)
    now = state_at(tmp_path / "journal", Now()).values
    rows = [(msgspec.msgpack.encode(f"k{n}"), msgspec.msgpack.encode(Row(n))) for n in range(3)]
    large = StagedState(
        now.schema, {**now.cells, "names": msgspec.msgpack.encode(["x" * (40 << 20)])}, {"rows": rows}
    )
    file = tmp_path / "large.state"
    file.write_bytes(msgspec.msgpack.encode(large))
    answered = run(leader, "1", "state-restore", file=str(file))
    assert answered.fault == "bad-input"
    assert "at most 33554432 can be changed at once" in answered.error
    assert "k1" not in leader.replica.state.rows
    leader.ticks(5)


def test_a_command_that_comes_twice_restores_once(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    leader = leader_in(journal)
    file = staged(tmp_path, journal, leader.replica.number)
    first = run(leader, "1", "state-restore", file=str(file))
    file.unlink()
    leader.engine.ordered(Run("1", "state-restore", {"file": str(file)}))
    leader.ticks(2)
    answers = [message for message in leader.sent() if isinstance(message, Answered)]
    assert answers == [first, first]


class Renewing(Edited):
    """Has an `on_state`."""

    renewed: frozenset[str] = frozenset()

    def on_state(self, changed: frozenset[str]) -> None:
        self.renewed = changed


def test_a_bot_with_an_on_state_is_told_which_fields_a_restore_has_changed(tmp_path: Path) -> None:
    leader = JournalingLeader(tmp_path / "journal", Renewing).ticks(30)
    worker = leader.worker
    assert isinstance(worker, Renewing)
    loaded = worker.loaded
    assert run(leader, "1", "state-set", path="rows.new", value={"n": 1}).error == ""
    assert (worker.renewed, worker.loaded) == ({"rows"}, loaded)
    assert run(leader, "2", "state-set", path="count", value=5).error == ""
    assert worker.renewed == {"count"}


class River:
    """What msgspec does not know."""

    def __init__(self, seen: int = 0) -> None:
        self.seen = seen


class Coded(msgspec.Struct):
    recent: deque[int] = msgspec.field(default_factory=lambda: deque([1], maxlen=3))
    counts: defaultdict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    model: Cell[River] = msgspec.field(default_factory=lambda: Cell(River()))
    n: int = 0


class KeepsCoded(Worker[Coded]):
    tick = "10ms"
    codecs = (Codec(River, lambda river: river.seen, River),)

    def on_tick(self, tick: Any) -> None:
        state = self.state
        state.n += 1
        state.recent.append(state.n)
        state.counts[f"c{state.n}"] += 1
        state.model.value.seen += 1
        state.model.touch()


def test_values_of_codecs_and_cells_are_shown_restored_and_set(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    leader = JournalingLeader(journal, KeepsCoded).ticks(10)
    found = state_at(journal, Now())
    shown = found.values.look(())
    n = leader.replica.state.n
    assert (shown["model"], shown["recent"]["items"], shown["counts"]["c1"]) == (n, [n - 2, n - 1, n], 1)
    defaults = {name: about.get("default") for name, about in found.values.types["properties"].items()}
    assert defaults == {"recent": {"maxlen": 3, "items": [1]}, "counts": {}, "model": 0, "n": 0}
    file = staged(tmp_path, journal, found.number)
    leader.ticks(10)
    answered = run(leader, "1", "state-restore", file=str(file))
    assert answered.error == ""
    state = cast("Coded", leader.replica.state)
    assert type(cast("Any", state.recent)) is deque
    assert type(cast("Any", state.counts)) is defaultdict
    assert 10 <= state.model.value.seen < 20
    assert state.recent.maxlen == 3
    assert run(leader, "2", "state-set", path="model", value=500).error == ""
    assert state.model.value.seen >= 500
    assert state_at(journal, Now()).values.look(("model",)) >= 500
