"""polars: frames and series, in Arrow's IPC format. polars reads and writes it itself, and it cannot hold code."""

from __future__ import annotations

import importlib
import io
from typing import Any

from .codec import BoundCodec, CodecError
from .hints import class_of

__all__ = ["bind"]

pl: Any = importlib.import_module("polars")


def bind(hint: Any, default: Any) -> BoundCodec | None:
    """The codec of a type of polars. Raises `CodecError` for one that has none."""
    cls = class_of(hint)
    if cls is pl.DataFrame:
        return BoundCodec("polars frame", pl.DataFrame, bytes, _from_frame, _to_frame, _equal)
    if cls is pl.Series:
        return BoundCodec("polars series", pl.Series, bytes, _from_series, _to_series, _equal)
    if cls is pl.LazyFrame:
        raise CodecError(
            "a LazyFrame is a query, not data: keep a pl.DataFrame, and call lazy() where you need one"
        )
    if cls is None or cls.__module__.partition(".")[0] != "polars":
        return None
    raise CodecError(f"polars' {cls.__name__} has no codec: keep a pl.DataFrame or a pl.Series")


def _from_frame(frame: Any) -> bytes:
    for name, dtype in frame.schema.items():
        if dtype == pl.Object:
            raise CodecError(
                f"column {name!r} of the polars frame holds Python objects: cast it, for example to pl.String"
            )
    data = io.BytesIO()
    frame.write_ipc(data)
    return data.getvalue()


def _to_frame(data: bytes) -> Any:
    try:
        return pl.read_ipc(io.BytesIO(data))
    except Exception as problem:
        raise CodecError(
            f"polars {pl.__version__} cannot read this frame ({problem}): use the version that wrote it, or drop it in "
            "a migration"
        ) from None


def _from_series(series: Any) -> bytes:
    return _from_frame(series.to_frame())


def _to_series(data: bytes) -> Any:
    return _to_frame(data).to_series()


def _equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, pl.DataFrame):
        return one.schema == other.schema and one.equals(other)
    return one.name == other.name and one.dtype == other.dtype and one.equals(other)
