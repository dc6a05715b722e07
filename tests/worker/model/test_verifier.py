from __future__ import annotations

import collections
import datetime
import enum
import itertools
import math
import re
import uuid
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest

from neverblink.protocol.link import StateProblem
from neverblink.worker import Cell, Codec
from neverblink.worker.model.cells import Cells
from neverblink.worker.model.table import Table
from neverblink.worker.model.verifier import Verifier

UTC = datetime.UTC


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Level(enum.IntEnum):
    LOW = 1


class Position(msgspec.Struct):
    size: float = 0.0
    tags: list[str] = []


class Wide(Position):
    more: int = 0


class Candle(msgspec.Struct, frozen=True):
    open: float
    close: float = 0.0


class Pair(NamedTuple):
    left: int
    right: int


@dataclass
class Order:
    size: float = 0.0
    fills: list[float] = field(default_factory=list[float])


class Names(dict[str, Any]):
    pass


class Book(msgspec.Struct):
    price: float = 0.0
    size: int = 0
    note: str = ""
    positions: dict[str, Position] = {}
    orders: list[Order] = []
    levels: dict[str, list[int]] = {}
    side: Side = Side.BUY
    level: Level | None = None
    at: datetime.datetime | None = None
    cash: Decimal = Decimal(0)
    pair: tuple[int, int] = (0, 0)
    named: Pair | None = None
    marks: set[int] = set()
    anything: Any = None
    plain: dict[str, Any] = {}
    mode: Literal["on", "off"] = "on"
    id: uuid.UUID | None = None
    candles: Table[str, Candle] = msgspec.field(default_factory=Table)
    rates: Table[int, float] = msgspec.field(default_factory=Table)


class Clock:
    """A clock that a test moves. Each reading takes `per_reading` ns."""

    def __init__(self, per_reading: int = 0) -> None:
        self.now = 0
        self.per_reading = per_reading

    def __call__(self) -> int:
        self.now += self.per_reading
        return self.now


def found(
    change: Callable[[Book], object], before: Callable[[Book], object] = lambda _: None
) -> list[StateProblem]:
    """The problems found in a state after this change."""
    cells = Cells(Book)
    state: Book = cells.fresh()
    verifier = Verifier(cells)
    verifier.check_all(state)
    before(state)
    cells.collect(state)
    verifier.check_changed(state)
    change(state)
    cells.collect(state)
    return verifier.check_changed(state)


def write(name: str, value: Any) -> Callable[[Book], None]:
    return lambda book: setattr(book, name, value)


def put(name: str, key: Any, value: Any) -> Callable[[Book], None]:
    return lambda book: getattr(book, name).__setitem__(key, value)


WRONG: dict[str, tuple[Callable[[Book], object], str, str, str]] = {
    # what was written, the path, the kind, and what the mend says
    "None in a float": (write("price", None), "price", "unreadable", "declare it as float | None"),
    "text in an int": (write("size", "3"), "size", "unreadable", "write an int"),
    "a number in a str": (write("note", 5), "note", "unreadable", "write a str"),
    "a word a Literal lacks": (write("mode", "idle"), "mode", "unreadable", "Literal"),
    "None in a nested float": (
        put("positions", "BTC", Position(None)),  # pyright: ignore[reportArgumentType]
        "positions['BTC'].size",
        "unreadable",
        "declare it as float | None",
    ),
    "None in a list of a dataclass": (
        lambda book: book.orders.append(Order(fills=[1.0, None])),  # pyright: ignore[reportArgumentType]
        "orders[0].fills[1]",
        "unreadable",
        "declare it as float | None",
    ),
    "an int as a key": (put("levels", 1, [1]), "levels key 1", "unreadable", "write a str"),
    "a defaultdict": (
        write("levels", collections.defaultdict(list, a=[1])),
        "levels",
        "differs",
        "a defaultdict becomes a plain dict",
    ),
    "an empty defaultdict": (
        write("levels", collections.defaultdict(list)),
        "levels",
        "differs",
        "a defaultdict becomes a plain dict",
    ),
    "a Counter": (
        write("plain", collections.Counter("aab")),
        "plain",
        "differs",
        "a Counter becomes a plain dict",
    ),
    "an OrderedDict": (
        write("plain", collections.OrderedDict(a=1)),
        "plain",
        "differs",
        "an OrderedDict becomes",
    ),
    "a dict of one's own": (write("plain", Names(a=1)), "plain", "differs", "a Names becomes a dict"),
    "a subclass of a struct": (
        put("positions", "X", Wide(1.0)),
        "positions['X']",
        "differs",
        "a Wide becomes a Position",
    ),
    "a Decimal in Any": (
        write("anything", Decimal("1.50")),
        "anything",
        "differs",
        "a Decimal becomes a str",
    ),
    "a tuple in Any": (write("anything", [(1, 2)]), "anything[0]", "differs", "a tuple becomes a list"),
    "a set in Any": (put("plain", "a", {1, 2}), "plain['a']", "differs", "a set becomes a list"),
    "a uuid in Any": (write("anything", uuid.UUID(int=7)), "anything", "differs", "a UUID becomes a str"),
    "a struct in Any": (write("anything", Position(1.0)), "anything", "differs", "a Position becomes a dict"),
    "an enum in Any": (write("anything", Side.SELL), "anything", "differs", "a Side becomes a str"),
    "text in an enum": (write("side", "sell"), "side", "differs", "a str becomes a Side"),
    "a list in a tuple": (write("pair", [1, 2]), "pair", "differs", "a list becomes a tuple"),
    "a tuple in a named one": (write("named", (1, 2)), "named", "differs", "a tuple becomes a Pair"),
    "a list in a set": (write("marks", [1]), "marks", "differs", "a list becomes a set"),
    "a float in a Decimal": (write("cash", 1.5), "cash", "differs", "a float becomes a Decimal"),
    "a time in Chicago": (
        write("at", datetime.datetime(2026, 7, 1, tzinfo=ZoneInfo("America/Chicago"))),
        "at",
        "differs",
        "a time with a zone comes back in UTC",
    ),
    "a time in London in winter": (
        write("at", datetime.datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/London"))),
        "at",
        "differs",
        "a time with a zone comes back in UTC",
    ),
    "an int that no float holds": (write("price", 2**53 + 1), "price", "differs", "becomes"),
    "None in a row": (
        put("candles", "BTC", Candle(1.0, None)),  # pyright: ignore[reportArgumentType]
        "candles['BTC'].close",
        "unreadable",
        "declare it as float | None",
    ),
    "a key of another type in a table": (
        put("candles", 5, Candle(1.0)),
        "candles key 5",
        "unreadable",
        "write a str",
    ),
    "text in a table of floats": (put("rates", 3, "x"), "rates[3]", "unreadable", "write a float"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_value_that_the_next_process_would_not_get_is_named_with_its_place_and_the_mend(what: str) -> None:
    change, path, kind, mend = WRONG[what]
    (problem,) = found(change)
    assert (problem.path, problem.kind) == (path, kind)
    assert mend in problem.mend
    assert problem.text.startswith(f"state field {path}: ")
    assert problem.field == path.partition("[")[0].partition(" ")[0]


RIGHT: dict[str, Callable[[Book], object]] = {
    "NaN": write("price", math.nan),
    "an int where a float is declared": write("price", 3),
    "NaN in a list in Any": write("anything", [math.nan, {"a": math.nan}]),
    "minus infinity": write("price", -math.inf),
    "UTC": write("at", datetime.datetime(2026, 1, 1, tzinfo=UTC)),
    "UTC of zoneinfo": write("at", datetime.datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC"))),
    "no zone": write("at", datetime.datetime(2026, 1, 1)),  # noqa: DTZ001
    "a Decimal": write("cash", Decimal("1.500")),
    "an IntEnum": write("level", Level.LOW),
    "a named tuple": write("named", Pair(1, 2)),
    "nested containers in Any": write("anything", {"a": [1, [2.5, None, True]], "b": {}}),
    "a set": write("marks", {3, 1, 2}),
    "many positions": lambda book: book.positions.update(
        {str(n): Position(n / 7, ["x"]) for n in range(300)}
    ),
    "rows": lambda book: [book.candles.__setitem__(str(n), Candle(float(n))) for n in range(100)],
    "the same text twice": lambda book: (write("note", "x")(book), book.levels.update(x=[1])),
    "one row in two places": lambda book: book.candles.update(dict.fromkeys("ab", Candle(1.0))),
}


@pytest.mark.parametrize("what", RIGHT)
def test_a_value_that_reads_back_as_it_was_is_not_told(what: str) -> None:
    assert found(RIGHT[what]) == []


def share_within_a_cell(book: Book) -> None:
    book.orders = [Order(1.0)] * 2


def share_deep_in_a_cell(book: Book) -> None:
    tags = ["a"]
    book.positions = {"a": Position(tags=tags), "b": Position(tags=tags)}


def share_between_cells(book: Book) -> None:
    book.levels["a"] = [1]
    book.anything = [book.levels["a"]]


def share_a_whole_cell(book: Book) -> None:
    book.plain = book.levels = {"a": [1]}


@pytest.mark.parametrize(
    "change", [share_within_a_cell, share_deep_in_a_cell, share_between_cells, share_a_whole_cell]
)
def test_one_object_in_two_places_is_told_since_the_next_process_has_two(
    change: Callable[[Book], object],
) -> None:
    problems = found(change)
    assert problems
    assert {problem.kind for problem in problems} == {"shared"}
    assert "write a copy" in problems[0].mend


def test_objects_that_were_shared_once_and_no_more_are_not_told() -> None:
    assert found(lambda book: write("anything", None)(book), before=share_between_cells) == []


def test_a_problem_is_forgotten_when_the_value_is_right_again() -> None:
    assert found(write("price", 1.5), before=write("price", None)) == []
    assert found(put("candles", "a", Candle(2.0)), before=put("candles", "a", Candle(None))) == []  # pyright: ignore[reportArgumentType]
    assert found(lambda book: book.candles.pop("a"), before=put("candles", "a", Candle(None))) == []  # pyright: ignore[reportArgumentType]


def test_a_problem_stays_while_other_fields_change() -> None:
    (problem,) = found(write("note", "x"), before=write("price", None))
    assert problem.path == "price"


def test_the_lines_that_can_have_written_a_value_are_named() -> None:
    cells = Cells(Book)
    state: Book = cells.fresh()
    verifier = Verifier(cells)
    verifier.modules = (__name__,)
    state.cash = 1.5  # pyright: ignore[reportAttributeAccessIssue]
    cells.collect(state)
    (problem,) = verifier.check_changed(state)
    assert len(problem.lines) == 1
    assert problem.lines[0].startswith("test_verifier.py:")
    assert f"written in {problem.lines[0]}" in problem.text


# --- in spare time ---


def leading() -> tuple[Cells, Book, Verifier]:
    cells = Cells(Book)
    state: Book = cells.fresh()
    verifier = Verifier(cells)
    verifier.check_all(state)
    return cells, state, verifier


def test_a_leader_with_time_between_turns_finds_it_in_the_first_pause() -> None:
    cells, state, verifier = leading()
    state.price = None  # pyright: ignore[reportAttributeAccessIssue]
    cells.collect(state)
    assert verifier.waits(lambda: 0)
    assert verifier.pump(state, Clock(), 10_000_000)
    assert [problem.path for problem in verifier.problems.values()] == ["price"]
    assert not verifier.pump(state, Clock(), 10_000_000)


def test_nothing_is_begun_that_does_not_fit_before_the_next_turn() -> None:
    cells, state, verifier = leading()
    state.note = "x" * 1_000_000
    cells.collect(state)
    assert not verifier.pump(state, Clock(), 1_000_000)
    assert "note" in cells.unread
    # A megabyte takes 100 ms at the estimate.
    assert not verifier.pump(state, Clock(), 200_000_000)
    assert "note" not in cells.unread


def test_reading_back_takes_at_most_a_small_part_of_the_time() -> None:
    cells, state, verifier = leading()
    clock = Clock(per_reading=20_000)
    spent = 0
    for turn in itertools.count(1):
        state.size = turn
        cells.collect(state)
        began = clock.now
        if verifier.waits(lambda: clock.now):
            # The next turn is soon, so there is no room to do it whenever it is asked for.
            verifier.pump(state, clock, clock.now + 500_000)
            spent += clock.now - began
        clock.now += 1_000_000
        if clock.now > 1_000_000_000:
            break
    assert 0 < spent < clock.now / 25


def test_what_changes_with_each_tick_is_read_back_ten_times_a_second() -> None:
    cells, state, verifier = leading()
    clock, looks = Clock(), 0
    for turn in range(1, 1001):
        clock.now += 1_000_000
        state.size = turn
        cells.collect(state)
        if verifier.waits(clock):
            verifier.pump(state, clock, clock.now + 500_000)
            looks += 1
    assert 9 <= looks <= 12
    state.price = None  # pyright: ignore[reportAttributeAccessIssue]
    cells.collect(state)
    clock.now = verifier.next_at
    assert verifier.waits(clock)
    assert verifier.pump(state, clock, clock.now + 500_000)
    assert "price" in verifier.problems


def test_a_field_that_never_fits_before_the_next_turn_is_listed_until_it_was_read_back() -> None:
    cells, state, verifier = leading()
    state.note = "x" * 1_000_000
    cells.collect(state)
    verifier.pump(state, lambda: 0, 1_000_000)
    assert verifier.unverified(9_000_000_000) == ()
    assert verifier.unverified(11_000_000_000) == ("note",)
    verifier.pump(state, lambda: 0, 200_000_000)
    assert verifier.unverified(11_000_000_000) == ()


def test_all_rows_of_one_turn_are_read_back_and_those_of_the_next_turns_while_few_wait() -> None:
    cells, state, verifier = leading()

    def write(rows: range, wrong: int = -1) -> None:
        for row in rows:
            state.rates[row] = "x" if row == wrong else float(row)  # pyright: ignore[reportArgumentType]
        cells.collect(state)

    def read_back() -> None:
        clock.now = verifier.next_at + 10**9
        verifier.pump(state, clock, clock.now + 10**9)

    clock = Clock()
    write(range(1000), wrong=999)
    write(range(1000, 1001), wrong=1000)
    read_back()
    # Row 1000 was passed over: more than a few waited.
    assert verifier.problems["rates"].path == "rates[999]"
    for row in range(255):
        write(range(row, row + 1))
    write(range(2000, 2001), wrong=2000)
    write(range(3000, 3001), wrong=3000)
    read_back()
    assert verifier.problems["rates"].path == "rates[2000]"


def test_what_was_never_read_back_comes_before_what_only_changed_again() -> None:
    cells, state, verifier = leading()
    verifier.pump(state, Clock(), 10**9)
    state.price = 1.0
    cells.collect(state)
    verifier.pump(state, Clock(per_reading=1000), 10**9)
    state.price = None  # pyright: ignore[reportAttributeAccessIssue]
    state.side = "x"  # pyright: ignore[reportAttributeAccessIssue]
    cells.collect(state)
    order: list[str] = []
    clock = Clock(per_reading=3_000_000)
    while not {"price", "side"} <= set(order):
        verifier.pump(state, clock, clock.now + 40_000_000)
        order += [name for name in verifier.problems if name not in order]
    assert order == ["side", "price"]


def test_rows_that_were_touched_are_read_back_a_few_at_a_time() -> None:
    cells, state, verifier = leading()
    for n in range(1000):
        state.rates[n] = float(n)
    state.rates[999] = "x"  # pyright: ignore[reportArgumentType]
    cells.collect(state)
    clock = Clock(per_reading=400_000)
    looks = 0
    while not verifier.problems:
        verifier.pump(state, clock, clock.now + 10**9)
        looks += 1
    assert looks > 5
    assert verifier.problems["rates"].path == "rates[999]"


def test_a_leader_without_any_pause_still_reads_back_a_little() -> None:
    cells, state, verifier = leading()
    state.price = None  # pyright: ignore[reportAttributeAccessIssue]
    cells.collect(state)
    assert verifier.hurry(state, Clock())
    assert "price" in verifier.problems


class Held:
    def __init__(self, seen: int = 0) -> None:
        self.seen = seen


class Coded(msgspec.Struct):
    recent: deque[float] = msgspec.field(default_factory=lambda: deque[float](maxlen=2))
    counts: defaultdict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    halves: list[Held] = []
    held: Cell[Held] = msgspec.field(default_factory=lambda: Cell(Held(), every="1h"))


def coded() -> tuple[Verifier, Cells, Any]:
    cells = Cells(Coded, codecs=[Codec(Held, lambda held: held.seen, Held)])
    return Verifier(cells), cells, cells.fresh()


def test_values_with_codecs_read_back_as_they_were_written() -> None:
    verifier, cells, state = coded()
    state.recent.extend([float("nan"), 1.0])
    state.counts["a"] += 1
    # Of a class that compares by identity.
    state.halves.append(Held(3))
    with state.held.change() as held:
        held.seen = 1
    cells.collect(state, all_of_it=False)
    assert verifier.check_all(state) == []


MISFITS: dict[str, tuple[Callable[[Any], object], str | None, str]] = {
    "longer": (lambda state: setattr(state, "recent", deque([1.0], maxlen=9)), None, ""),
    "list": (lambda state: setattr(state, "recent", [1.0]), "recent", "deque"),
    "dict": (lambda state: setattr(state, "counts", {"a": 1}), "counts", "defaultdict"),
    "factory": (
        lambda state: setattr(state, "counts", defaultdict(lambda: 7)), "counts", "default_factory",
    ),
    "none": (lambda state: state.recent.append(None), "recent", "None"),
    "untouched": (lambda state: setattr(state.held.value, "seen", 5), "held", r"self\.state\.held\.touch\(\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_a_value_that_its_codec_cannot_bring_back_is_reported(
    name: str,
) -> None:
    change, field, mend = MISFITS[name]
    verifier, cells, state = coded()
    change(state)
    cells.collect(state)
    problems = verifier.check_all(state)
    assert [problem.field for problem in problems] == ([field] if field else [])
    assert all(re.search(mend, problem.mend) for problem in problems)


def test_one_deque_in_two_fields_is_reported_as_shared() -> None:
    class Two(msgspec.Struct):
        one: deque[int] = msgspec.field(default_factory=lambda: deque[int]())
        other: dict[str, deque[int]] = {}

    cells = Cells(Two)
    state: Any = cells.fresh()
    state.other["a"] = state.one
    cells.collect(state)
    [problem] = Verifier(cells).check_all(state)
    assert problem.kind == "shared"


def test_a_touch_that_was_forgotten_is_found_in_spare_time() -> None:
    verifier, cells, state = coded()
    now = 10**12

    def clock() -> int:
        return now

    while verifier.waits(clock):
        verifier.pump(state, clock, now + 10**9)
        now += 10**8
    state.held.value.seen = 5
    cells.collect(state)
    now += 10**10
    assert verifier.waits(clock)
    verifier.pump(state, clock, now + 10**9)
    assert verifier.problems["held"].path == "held.value"
    state.held.touch()
    cells.collect(state)
    now += 10**10
    verifier.pump(state, clock, now + 10**9)
    assert verifier.problems == {}
