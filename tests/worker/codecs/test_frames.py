"""Frames of pandas and polars in a state, and a model of river in a Cell, are the same in every process.

These libraries are large. Where they are not installed the tests below are skipped, and one deep test runs them in an
environment of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from neverblink.worker import Cell, pickled
from neverblink.worker.model.cells import Cells, StateError, StateUnreadable
from neverblink.worker.model.shape import Shape, StateTypeError
from neverblink.worker.model.verifier import Verifier

from .round_trip import round_trip, state_with

ROOT = Path(__file__).resolve().parents[3]
LIBRARIES = ("pandas", "polars", "pyarrow", "river")
INSTALLED = all(importlib.util.find_spec(name) for name in LIBRARIES)

with_frames = pytest.mark.skipif(not INSTALLED, reason="pandas, polars, pyarrow or river is not installed")


def _library(name: str) -> Any:
    # Typed as anything: the type checker's environment has none of them.
    return importlib.import_module(name) if INSTALLED else None


pd, pl, linear_model = map(_library, ("pandas", "polars", "river.linear_model"))


@pytest.mark.deep
def test_the_frames_pass_in_an_environment_that_has_them() -> None:
    make = f'set -eu; root="{ROOT}"; . "$root/bin/environment"; environment frames "$root/.venv-frames"'
    subprocess.run(["sh", "-c", make], check=True, capture_output=True, timeout=280)
    python = ROOT / ".venv-frames" / "bin" / "python"
    run = subprocess.run(
        [python, "-m", "pytest", "-q", "-m", "not deep", "-p", "no:cacheprovider", __file__],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^\d+ passed|\[100%\]", run.stdout, re.MULTILINE), run.stdout


PANDAS: dict[str, Callable[[], Any]] = {
    "numbers and text": lambda: pd.DataFrame({"a": [1, 2], "b": [1.5, None], "c": ["x", None]}),
    "an index of times with a zone and frequency": lambda: pd.DataFrame(
        {"close": [1.0, 2.0]},
        index=pd.date_range("2026-03-28", periods=2, freq="D", tz="Europe/Berlin", name="at"),
    ),
    "categories": lambda: pd.DataFrame({"side": pd.Categorical(["buy", "sell"], ordered=True)}),
    "nullable dtypes": lambda: pd.DataFrame(
        {"n": pd.array([1, None], "Int64"), "b": pd.array([True, None], "boolean")}
    ),
    "objects": lambda: pd.DataFrame({"o": pd.Series(["a", "b"], dtype=object)}),
    "an index of several levels": lambda: pd.DataFrame(
        {"v": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["m", None])
    ),
    "times of another unit": lambda: pd.DataFrame({"t": pd.to_datetime(["2026-01-01"]).as_unit("s")}),
    "small numbers": lambda: pd.DataFrame({"i": pd.array([1], "int8"), "f": pd.array([0.5], "float32")}),
    "no rows": lambda: pd.DataFrame({"a": pd.Series([], dtype="float64")}),
    "nothing": lambda: pd.DataFrame(),
    "columns that are numbers": lambda: pd.DataFrame([[1, 2]], columns=[10, 20]),
    "a series": lambda: pd.Series([1.0, 2.0], name="x"),
    "a series without a name": lambda: pd.Series(["a"]),
    "a timestamp": lambda: pd.Timestamp("2026-01-01T00:00:00.123456789", tz="America/New_York"),
    "a timestamp without a zone": lambda: pd.Timestamp("2026-01-01").as_unit("s"),
    "a timestamp in the hour that occurs twice": lambda: pd.Timestamp(
        "2026-10-25T00:30", tz="UTC"
    ).tz_convert("Europe/Berlin"),
    "a timestamp with an offset": lambda: pd.Timestamp("2026-01-01T00:00:00+05:30"),
    "a timedelta": lambda: pd.Timedelta(5, "ns"),
}
POLARS: dict[str, Callable[[], Any]] = {
    "numbers and text": lambda: pl.DataFrame({"a": [1, None], "b": ["x", "é"]}),
    "nested": lambda: pl.DataFrame({"l": [[1], []], "s": [{"a": 1}, {"a": 2}]}),
    "times": lambda: pl.DataFrame({"t": [1, 2]}).with_columns(
        pl.col("t").cast(pl.Datetime("ns", "Europe/Berlin")), d=pl.lit(0.1).cast(pl.Decimal(10, 2))
    ),
    "categories": lambda: pl.DataFrame({"c": ["a", "b"]}, schema={"c": pl.Categorical}),
    "nothing": lambda: pl.DataFrame(),
    "a series": lambda: pl.Series("x", [1.0, float("nan")]),
}


@with_frames
@pytest.mark.parametrize("name", PANDAS)
def test_a_value_of_pandas_comes_back_as_what_it_was(name: str) -> None:
    value = PANDAS[name]()
    found = round_trip(type(value), value)
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(found, value, check_freq=True)
    elif isinstance(value, pd.Series):
        pd.testing.assert_series_equal(found, value)
    else:
        assert (found, found.unit) == (value, value.unit)
        assert str(getattr(found, "tz", "")) == str(getattr(value, "tz", ""))
    assert verified(type(value), value) == []


@with_frames
@pytest.mark.parametrize("name", POLARS)
def test_a_value_of_polars_comes_back_as_what_it_was(name: str) -> None:
    value = POLARS[name]()
    found = round_trip(type(value), value)
    assert found.equals(value)
    assert getattr(found, "schema", None) == getattr(value, "schema", None)
    assert verified(type(value), value) == []


def verified(hint: Any, value: Any) -> list[Any]:
    """What the leader's verification reports of a state with this value."""
    cells = Cells(state_with(dict[str, hint], dict))
    state = cells.fresh()
    state.value = {"a": value}
    cells.collect(state)
    return Verifier(cells).check_all(state)


@with_frames
def test_a_frame_can_be_written_after_it_was_read() -> None:
    found = round_trip(pd.DataFrame, pd.DataFrame({"a": [1.0, 2.0]}))
    found.loc[0, "a"] = 9.0
    assert found["a"].tolist() == [9.0, 2.0]


@with_frames
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: pd.DataFrame({"a": [1, "x"]}), "give each column one type"),
        (lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns of one name"),
        (lambda: pl.DataFrame({"a": [object()]}, schema={"a": pl.Object}), "holds Python objects"),
    ],
)
def test_a_frame_that_arrow_cannot_hold_is_refused_with_the_mend(value: Any, message: str) -> None:
    frame = value()
    cells = Cells(state_with(type(frame), type(frame)))
    state = cells.fresh()
    state.value = frame
    with pytest.raises(StateError, match=rf"state field value: .*{message}"):
        cells.collect(state)


@with_frames
def test_bytes_that_are_not_a_frame_name_the_library_and_its_version() -> None:
    for kind, data in ((pd.DataFrame, {"arrow": b"nonsense"}), (pl.DataFrame, b"nonsense")):
        cells = Cells(state_with(kind, kind))
        with pytest.raises(StateUnreadable, match=r"(pandas|polars) \d.*cannot read this frame"):
            cells.load({"value": msgspec.msgpack.encode(data)})


@with_frames
def test_a_type_without_a_codec_is_refused_with_what_to_keep() -> None:
    for kind, message in (
        (pl.LazyFrame, r"call lazy\(\)"),
        (pd.Index, "keep a pd.DataFrame"),
        (pd.Period, "Period"),
    ):
        with pytest.raises(StateTypeError, match=message):
            Shape(state_with(kind, lambda: None))


@with_frames
def test_a_timestamp_in_a_datetime_field_is_that_datetime_or_says_what_to_declare() -> None:
    import datetime

    value = pd.Timestamp("2026-01-01T00:00:00.5", tz="UTC")
    assert round_trip(datetime.datetime, value) == value.to_pydatetime()
    with pytest.raises(StateError, match=r"nanoseconds.*declare pd\.Timestamp"):
        round_trip(datetime.datetime, pd.Timestamp(1, unit="ns"))


@with_frames
def test_a_model_of_river_learns_on_after_a_handoff() -> None:
    kind = linear_model.LinearRegression

    def learned(model: Any, first: int, last: int) -> Any:
        for x in range(first, last):
            model.learn_one({"x": x / 10, "y": 1.0}, 2 * x / 10)
        return model

    book = msgspec.defstruct(
        "Book", [("model", Cell[kind], msgspec.field(default_factory=lambda: Cell(kind())))]
    )
    leader, follower = (Cells(book, codecs=[pickled(kind)]) for _ in range(2))
    state = leader.fresh()
    twin = follower.load(leader.root(state))
    with state.model.change() as model:
        learned(model, 0, 50)
    follower.apply(twin, leader.collect(state))
    assert not leader.collect(state)
    assert Verifier(leader).check_all(state) == []
    there, here = learned(twin.model.value, 50, 60), learned(state.model.value, 50, 60)
    assert there.predict_one({"x": 1.0, "y": 1.0}) == here.predict_one({"x": 1.0, "y": 1.0})
    [problem] = Verifier(leader).check_all(state)
    assert "touch()" in problem.mend
