"""Paths into a state."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.state.path import BadPath, parse, put, shown

ANY: dict[str, Any] = {}


@given(
    path=st.lists(
        st.text() | st.integers(-9, 9) | st.lists(st.integers(0, 3) | st.text(max_size=2)), max_size=4
    )
)
def test_a_path_is_read_back_from_what_is_shown_of_it(path: list[Any]) -> None:
    assert list(parse(shown(tuple(path)))) == path


@given(text=st.text(alphabet="ab.[]\"'01 -{}\\", max_size=12))
def test_any_text_is_a_path_or_is_refused_as_one(text: str) -> None:
    with suppress(BadPath):
        path = parse(text)
        assert parse(shown(path)) == path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ()),
        ("positions.BTC.size", ("positions", "BTC", "size")),
        ("levels[0][-1]", ("levels", 0, -1)),
        ('armed["a.b"].x', ("armed", "a.b", "x")),
        ("armed['a.b']", ("armed", "a.b")),
        ('armed."a.b"', ("armed", "a.b")),
        ('fills[[17, "buy"]]', ("fills", [17, "buy"])),
        ("BTC/USD.x", ("BTC/USD", "x")),
    ],
)
def test_a_path_is_written_as_people_expect(text: str, path: tuple[Any, ...]) -> None:
    assert parse(text) == path


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        ({"a": [1]}, ("a", 1), "a is a list of 1 item"),
        ({"a": 1}, ("a", "b"), "which has no parts"),
        ({"a": {}}, ("a", "b", "c"), "there is no b in a"),
        ({"$map": [[[1, 2], 3]]}, ([1, 3], "x"), "there is no"),
    ],
)
def test_nothing_is_put_where_there_is_no_place_for_it(value: Any, path: tuple[Any, ...], words: str) -> None:
    with pytest.raises(BadPath) as raised:
        put(value, path, 0, ANY, ANY)
    assert words in raised.value.message


def test_putting_a_value_leaves_the_old_one_as_it_was() -> None:
    old = {"a": {"b": [1, 2]}, "c": {"$map": [[1, "x"]]}}
    assert put(old, ("a", "b", 1), 3, ANY, ANY) == {**old, "a": {"b": [1, 3]}}
    assert put(old, ("c", 1), "y", ANY, ANY)["c"] == {"$map": [[1, "y"]]}
    assert put(old, ("c", 2), "z", ANY, ANY)["c"] == {"$map": [[1, "x"], [2, "z"]]}
    assert old == {"a": {"b": [1, 2]}, "c": {"$map": [[1, "x"]]}}


def test_a_map_takes_a_new_key_and_a_struct_no_new_field() -> None:
    struct = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert put({}, ("new",), 1, {"type": "object", "additionalProperties": {}}, ANY) == {"new": 1}
    with pytest.raises(BadPath, match="did you mean a"):
        put({"a": 1}, ("aa",), 1, struct, ANY)
