"""Walks over a changing table: they find exactly the keys that are present throughout, in order."""

from __future__ import annotations

from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.worker.model.table import Table

_keys = st.integers(0, 60)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 9)),
        st.tuples(st.just("put"), _keys),
        st.tuples(st.just("delete"), _keys),
        # Many at once: a full dict compacts its entries.
        st.tuples(st.just("fill"), _keys),
        st.tuples(st.just("thin out"), st.integers(1, 4)),
    ),
    max_size=60,
)


@given(size=st.integers(0, 40), steps=_steps)
def test_a_walk_finds_every_key_that_is_present_throughout(size: int, steps: list[tuple[str, int]]) -> None:
    table = Table({key: key for key in range(size)})
    walk = table.walk()
    original = list(table)
    stayed = dict.fromkeys(original)
    seen: dict[int, None] = {}

    def delete(key: int) -> None:
        if key in table:
            del table[key]
            stayed.pop(key, None)

    for what, number in steps:
        match what:
            case "take":
                seen |= dict.fromkeys(walk.take(number))
            case "put":
                table[number] = -1
            case "delete":
                delete(number)
            case "fill":
                for key in range(100 * number, 100 * number + 30):
                    table[key] = -1
                for key in range(100 * number, 100 * number + 25):
                    delete(key)
            case _:
                for key in list(table)[::number]:
                    delete(key)
    for _ in range(10 * (size + 1)):
        some = walk.take(3)
        if not some:
            break
        seen |= dict.fromkeys(some)
    else:
        raise AssertionError("the walk has no end")
    assert walk.take(3) == []
    assert set(seen) <= set(original), "a key that was added later comes by a frame, and not before"
    assert list(seen) == [key for key in original if key in seen]
    assert set(stayed) <= set(seen)


def test_a_walk_finds_each_key_once_when_the_dict_compacts_its_entries() -> None:
    table = Table({key: key for key in range(5000)})
    walk = table.walk()
    seen = walk.take(2000)
    for key in range(1000):
        del table[key]
    # Enough to fill the dict more than once.
    for key in range(10_000, 30_000):
        table[key] = key
    while some := walk.take(700):
        seen += some
    assert seen == list(range(5000))


@pytest.mark.parametrize("size", range(6, 200))
def test_a_walk_loses_no_key_when_its_last_key_is_deleted_and_the_dict_compacts_its_entries(
    size: int,
) -> None:
    table = Table({key: key for key in range(size)})
    walk = table.walk()
    seen = walk.take(5)
    del table[4]
    # Does not fit into a dict of certain sizes, such as 10, until its entries are compacted.
    table[1000] = 1
    while some := walk.take(3):
        seen += some
    assert seen == list(range(size))


def test_a_key_deleted_and_written_again_is_left_to_the_frames() -> None:
    table = Table({key: key for key in range(10)})
    walk = table.walk()
    assert walk.take(3) == [0, 1, 2]
    del table[1], table[5]
    table[5] = 50
    table[1] = 10
    assert walk.take(20) == [3, 4, 6, 7, 8, 9]
    assert walk.take(20) == []


def test_a_walk_ends_when_every_key_it_returned_was_deleted() -> None:
    table = Table({key: key for key in range(100)})
    walk = table.walk()
    seen: list[int] = []
    while some := walk.take(4):
        seen += some
        for key in some:
            del table[key]
    assert seen == list(range(100))
    table.update({key: key for key in range(100)})
    assert walk.take(4) == []


def test_a_table_keeps_no_reference_to_an_ended_walk() -> None:
    table = Table({1: 1})
    walk = table.walk()
    walking = ref(walk)
    del walk
    assert walking() is None
    table[2] = 2
    assert table.walk().take(9) == [1, 2]
