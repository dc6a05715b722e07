"""States of every type that msgspec and the codecs know, changed at random with right and wrong values.

Whatever the verification of the leader lets pass, each other process has as the leader wrote it: a follower by frames,
one that reads the journal, and a successor that copies from the follower. They are compared by a plain form that says
class and value of every part, and that shares nothing with the verification.
"""

from __future__ import annotations

import datetime
import enum
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import numpy as np
import pydantic
from hypothesis import given, settings
from hypothesis import strategies as st

from neverblink.protocol.frame import Changes
from neverblink.worker import Cell, Codec
from neverblink.worker.model.cells import Cells, StateError, StateUnreadable
from neverblink.worker.model.verifier import Verifier

from ...hypothesis_profile import examples

CODECS = [Codec(Fraction, lambda f: [f.numerator, f.denominator], lambda pair: Fraction(*pair))]


class Side(enum.Enum):
    BUY = "buy"


class Level(msgspec.Struct):
    price: float = 0.0
    recent: deque[int] = msgspec.field(default_factory=lambda: deque[int]())


class Quote(pydantic.BaseModel):
    price: Decimal = Decimal(0)
    sizes: list[int] = []


class Pair(NamedTuple):
    a: int
    b: str


Kind = tuple[Any, st.SearchStrategy[Any]]
"""A declared type, and the values that are right for it."""


def kind(hint: Any, values: Any) -> Kind:
    return hint, values


NUMBERS = st.integers(-(2**40), 2**40)
FLOATS = st.floats(width=32)
TEXTS = st.text("abé", max_size=3)
LEAVES: list[Kind] = [
    kind(int, NUMBERS),
    kind(float, FLOATS),
    kind(str, TEXTS),
    kind(bytes, st.binary(max_size=3)),
    kind(bool, st.booleans()),
    kind(Literal["a", "b"], st.sampled_from(["a", "b"])),
    kind(Side, st.just(Side.BUY)),
    kind(Decimal, st.decimals(places=2, allow_nan=False, allow_infinity=False, min_value=-9, max_value=9)),
    kind(UUID, st.uuids()),
    kind(datetime.date, st.dates()),
    kind(datetime.timedelta, st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=9))),
    kind(datetime.datetime, st.datetimes(timezones=st.just(datetime.UTC)).map(lambda at: at.replace(fold=0))),
    kind(Pair, st.builds(Pair, NUMBERS, TEXTS)),
    kind(Level, st.builds(Level, FLOATS, st.lists(NUMBERS, max_size=2).map(lambda some: deque(some)))),
    kind(Quote, st.builds(Quote, sizes=st.lists(NUMBERS, max_size=2))),
    kind(Fraction, st.fractions(max_denominator=9, min_value=-9, max_value=9)),
    kind(Counter[str], st.dictionaries(TEXTS, NUMBERS, max_size=2).map(lambda some: Counter(some))),
    kind(np.float32, FLOATS.map(np.float32)),
    kind(np.int16, st.integers(-9, 9).map(np.int16)),
    kind(np.ndarray, st.lists(FLOATS, max_size=3).map(lambda some: np.array(some, "<f4"))),
]


def around(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    """Types that hold others."""

    def containers(one: Kind) -> st.SearchStrategy[Kind]:
        hint, values = one
        lists = st.lists(values, max_size=2)
        maps = st.dictionaries(TEXTS, values, max_size=2)
        return st.sampled_from(
            [
                kind(list[hint], lists),
                kind(tuple[hint, ...], lists.map(tuple)),
                kind(deque[hint], st.tuples(lists, st.sampled_from([None, 2])).map(lambda two: deque(*two))),
                kind(dict[str, hint], maps),
                kind(OrderedDict[str, hint], maps.map(lambda some: OrderedDict(some))),
                kind(
                    defaultdict[str, list[hint]],
                    st.dictionaries(TEXTS, lists, max_size=2).map(lists_by_default),
                ),
                kind(hint | None, st.none() | values),
            ]
        )

    return inner.flatmap(containers)


def lists_by_default(values: dict[str, list[Any]]) -> defaultdict[str, list[Any]]:
    return defaultdict(list, values)


KINDS = st.recursive(st.sampled_from(LEAVES), around, max_leaves=3)


def plain(value: Any) -> Any:
    """Class and content of every part of a value, as text and tuples."""
    name = type(value).__name__
    whole: Any = value
    if isinstance(value, Cell):
        return name, plain(whole.value)
    if isinstance(value, np.ndarray):
        return name, whole.dtype.str, whole.shape, whole.tobytes()
    if isinstance(value, defaultdict):
        return name, plain(dict(whole)), plain(whole.default_factory and whole.default_factory())
    if isinstance(value, dict):
        return name, tuple((plain(key), plain(part)) for key, part in whole.items())
    if isinstance(value, deque):
        return name, whole.maxlen, tuple(map(plain, whole))
    if isinstance(value, (list, tuple)):
        return name, tuple(map(plain, whole))
    if isinstance(value, msgspec.Struct):
        return name, tuple((field, plain(getattr(whole, field))) for field in whole.__struct_fields__)
    if isinstance(value, pydantic.BaseModel):
        return name, plain(dict(whole))
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        # An int where a float is declared becomes one, and a number of numpy the number that it is.
        return "number", repr(float(whole))
    return name, repr(whole)


@settings(max_examples=examples(60))
@given(st.data())
def test_what_the_leader_lets_pass_every_process_has_as_it_was_written(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(KINDS, min_size=1, max_size=3))
    fields: list[Any] = []
    for at, (hint, values) in enumerate(kinds):
        first = data.draw(values)
        held = data.draw(st.booleans())
        if held:
            fields.append(
                (f"f{at}", Cell[hint], msgspec.field(default_factory=lambda first=first: Cell(first)))
            )
        else:
            fields.append((f"f{at}", hint, msgspec.field(default_factory=lambda first=first: first)))
    book = msgspec.defstruct("Book", fields)
    leader, follower, reader, successor = (Cells(book, codecs=CODECS) for _ in range(4))
    state = leader.fresh()
    verifier = Verifier(leader)
    snapshot, frames = leader.root(state), list[Changes]()
    twin = follower.load(snapshot)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(kinds) - 1))
        # The values of some other type are wrong more often than not.
        value = data.draw(kinds[at][1] | data.draw(KINDS)[1])
        name, before = f"f{at}", getattr(state, f"f{at}")
        held = isinstance(before, Cell)
        setattr(state, name, Cell(value) if held else value)
        refused = None
        try:
            changes = leader.collect(state)
        except StateError as problem:
            refused, changes = problem.field, Changes({}, {})
        if refused is not None:
            assert refused == name
            setattr(state, name, before)
            continue
        problems = {problem.field: problem for problem in verifier.check_changed(state)}
        try:
            follower.apply(twin, changes)
        except StateUnreadable:
            assert problems[name].kind == "unreadable"
            return
        frames.append(changes)
        if problems:
            continue
        journaled = reader.load(snapshot)
        for frame in frames:
            reader.apply(journaled, frame)
        last = successor.load(follower.root(twin))
        for other in (twin, journaled, last):
            for field, _, _ in fields:
                assert plain(getattr(other, field)) == plain(getattr(state, field))
