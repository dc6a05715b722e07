"""numpy's arrays and scalars in a state are the same in every process, value by value."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from neverblink.worker import Codec, Table
from neverblink.worker.codecs.numpy_codec import bind
from neverblink.worker.model.cells import Cells, RowTypeError, StateError, StateUnreadable
from neverblink.worker.model.shape import Shape, StateTypeError

from ...hypothesis_profile import examples
from .round_trip import round_trip, state_with

RECORDS = np.dtype([("price", "<f8"), ("side", "S1"), ("levels", ">i4", (2, 3)), ("inner", [("a", "?")])])
ALIGNED = np.dtype({"names": ["a", "b"], "formats": ["i1", "<f8"], "offsets": [0, 8], "itemsize": 24})

DTYPES = st.one_of(
    arrays.scalar_dtypes(),
    arrays.byte_string_dtypes(min_len=1),
    arrays.unicode_string_dtypes(min_len=1),
    arrays.array_dtypes(arrays.scalar_dtypes(), allow_subarrays=True),
)


def same(found: Any, value: Any) -> None:
    assert type(found) is type(value)
    assert (found.dtype, found.shape) == (value.dtype, value.shape)
    assert found.tobytes() == value.tobytes()
    assert found.flags.f_contiguous == value.flags.f_contiguous or not value.flags.forc


@settings(max_examples=examples(40))
@given(arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=3)))
def test_every_array_without_objects_comes_back_byte_by_byte(array: Any) -> None:
    same(round_trip(np.ndarray, array), array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        np.arange(24.0).reshape(2, 3, 4)[:, ::2, 1:],
        np.array(1.5),
        np.zeros((0, 3)),
        np.zeros(2, RECORDS),
        np.zeros(2, ALIGNED),
        np.array(["2026-01-01", "NaT"], "M8[ns]"),
        np.array([np.nan, -0.0, np.inf], np.float16),
        np.array(["é", ""]),
        np.frombuffer(b"12345678", np.int64),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_an_array_keeps_dtype_shape_and_order_and_can_be_written(array: Any) -> None:
    found = round_trip(np.ndarray, array)
    same(found, array)
    assert found.flags.writeable
    assert found.flags.owndata or found.base is not None
    found[...] = found.copy()


class Quote(msgspec.Struct, frozen=True):
    price: np.float64
    at: np.datetime64


class Quotes(msgspec.Struct):
    quotes: Table[np.int64, Quote] = msgspec.field(default_factory=Table)


def test_scalars_may_be_in_the_rows_of_a_table_and_arrays_may_not() -> None:
    leader, follower = Cells(Quotes), Cells(Quotes)
    state = leader.fresh()
    twin = follower.load(leader.root(state))
    state.quotes[np.int64(7)] = Quote(np.float64(0.1), np.datetime64(5, "ms"))
    follower.apply(twin, leader.collect(state))
    ((key, row),) = twin.quotes.items()
    assert (type(key), key, type(row.price), row) == (np.int64, 7, np.float64, state.quotes[np.int64(7)])
    arrays_in_rows = msgspec.defstruct(
        "Book", [("rows", Table[str, NDArray[np.float64]], msgspec.field(default_factory=Table))]
    )
    with pytest.raises(RowTypeError, match=r"table rows: .*ndarray, whose codec does not say that it never"):
        Cells(arrays_in_rows)


def test_an_array_inside_of_other_values_is_found_by_its_declared_type() -> None:
    value: Any = {"BTC": [np.arange(3.0)]}
    found = round_trip(dict[str, list[NDArray[np.float64]]], value)
    same(found["BTC"][0], value["BTC"][0])


@pytest.mark.parametrize(
    "scalar",
    [
        np.float64(1.5),
        np.float32(0.1),
        np.float16("nan"),
        np.int8(-3),
        np.uint64(2**64 - 1),
        np.bool_(True),
        np.complex64(1 - 2j),
        np.complex128(complex(float("nan"), 1.0)),
        np.str_("é"),
        np.bytes_(b"\xff"),
        np.datetime64("2026-01-01T00:00:00.123456789"),
        np.datetime64("NaT", "ns"),
        np.timedelta64(5, "ms"),
    ],
    ids=lambda scalar: type(scalar).__name__,
)
def test_a_scalar_of_a_declared_class_keeps_its_class(scalar: Any) -> None:
    same(round_trip(type(scalar), scalar), scalar)


@pytest.mark.parametrize(
    ("hint", "written", "expected"),
    [
        (float, np.std([1.0, 2.0, 4.0]), float(np.std([1.0, 2.0, 4.0]))),
        (float, np.float32(0.1), float(np.float32(0.1))),
        (int, np.int32(-7), -7),
        (bool, np.bool_(True), True),
        (str, np.str_("a"), "a"),
        (dict[str, float], {"a": np.float64(1.5)}, {"a": 1.5}),
        (Any, np.uint8(3), 3),
    ],
)
def test_a_number_of_numpy_is_the_number_that_a_field_declares(
    hint: Any, written: Any, expected: Any
) -> None:
    found = round_trip(hint, written)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "array", [np.array([1, "a"], object), np.array([(1, None)], [("a", int), ("b", object)])]
)
def test_an_array_of_objects_is_refused_with_the_mend(array: Any) -> None:
    cells = Cells(state_with(np.ndarray, lambda: np.zeros(1)))
    state = cells.fresh()
    state.value = array
    with pytest.raises(StateError, match=r"state field value: .*holds Python objects.*astype"):
        cells.collect(state)


def test_a_whole_number_of_numpy_in_a_float_field_is_read_as_a_float() -> None:
    cells = Cells(state_with(float, float))
    state = cells.fresh()
    state.value = np.int64(3)
    assert repr(cells.load(cells.root(state)).value) == "3.0"


@pytest.mark.parametrize("array", [np.ma.masked_array([1.0], [True]), np.zeros(1, RECORDS).view(np.recarray)])
def test_a_subclass_of_ndarray_is_refused_by_name(array: Any) -> None:
    cells = Cells(state_with(np.ndarray, lambda: np.zeros(1)))
    state = cells.fresh()
    state.value = array
    with pytest.raises(StateError, match=rf"a {type(array).__name__} where a ndarray is declared"):
        cells.collect(state)


@pytest.mark.parametrize(
    "hint", [np.number, np.floating, np.generic, np.longdouble, np.void, np.random.Generator]
)
def test_a_class_of_numpy_without_a_codec_is_refused_by_name(hint: Any) -> None:
    with pytest.raises(StateTypeError, match=hint.__name__):
        Shape(state_with(hint, lambda: None))


def test_an_array_where_a_list_is_declared_is_refused_with_what_to_declare() -> None:
    cells = Cells(state_with(list[float], list))
    state = cells.fresh()
    state.value = np.zeros(3)
    with pytest.raises(StateError, match=r"a ndarray cannot be encoded here.*declare np\.ndarray"):
        cells.collect(state)
    state.value = [np.datetime64("2026-01-01", "ns")]
    with pytest.raises(StateError, match=r"declare the field as np\.datetime64"):
        cells.collect(state)


@pytest.mark.parametrize(
    "data",
    [
        {"dtype": "<f99", "shape": [1], "data": b"12345678"},
        {"dtype": "O", "shape": [1], "data": b"12345678"},
        {"dtype": [["a", "|O"]], "shape": [1], "data": b"12345678"},
        {"dtype": [1], "shape": [1], "data": b"1"},
        {"dtype": [[1, 2, 3, 4]], "shape": [1], "data": b"1"},
        {"dtype": "<f8", "shape": [2], "data": b"12345678"},
        {"dtype": "<f8", "shape": [-1], "data": b""},
        {"dtype": "<f8", "shape": [2**40, 2**40, 0], "data": b""},
        {"dtype": "<f8", "shape": [1], "data": b"12345678", "order": "K"},
        {"dtype": "<f8", "shape": 1, "data": b"12345678"},
        [],
    ],
)
def test_what_is_not_an_array_is_an_error_of_the_field(data: Any) -> None:
    cells = Cells(state_with(np.ndarray, lambda: np.zeros(1)))
    with pytest.raises(StateUnreadable) as problem:
        cells.load({"value": msgspec.msgpack.encode(data)})
    assert problem.value.field == "value"


def test_an_own_codec_comes_before_the_shipped_one() -> None:
    codec: Codec[Any] = Codec(np.ndarray, encode=lambda array: array.tolist(), decode=np.array)
    cells = Cells(state_with(np.ndarray, lambda: np.arange(2)), codecs=[codec])
    assert cells.root(cells.fresh())["value"] == msgspec.msgpack.encode([0, 1])


def test_a_type_that_is_not_numpys_has_none_of_its_codecs() -> None:
    assert bind(dict[str, int], None) is None
