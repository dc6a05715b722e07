"""pandas: frames, series, timestamps and timedeltas.

A frame goes in Arrow's IPC format, which pyarrow reads and writes: it is typed and versioned, it keeps the index, time
zones and categories by pandas' own metadata, and decoding it runs no code, as decoding a pickle would. Parquet is meant
for files: it compresses, and is slower for small frames.
"""

from __future__ import annotations

import datetime
import importlib
from typing import Any

import msgspec

from .codec import BoundCodec, CodecError
from .hints import class_of

__all__ = ["bind"]

pd: Any = importlib.import_module("pandas")


class FrameBytes(msgspec.Struct, omit_defaults=True):
    """A frame or series as an Arrow stream, and what Arrow does not keep of it."""

    arrow: bytes
    freq: str = ""
    """The frequency of its index."""
    objects: list[int] = []
    """The columns of dtype object: newer versions of pandas make text columns of them."""
    named: bool = True
    """Whether a series has a name."""


def bind(hint: Any, default: Any) -> BoundCodec | None:
    """The codec of a type of pandas. Raises `CodecError` for one that has none, or where pyarrow is missing."""
    cls: Any = class_of(hint)
    if cls is pd.Timestamp:
        return BoundCodec(
            "pandas Timestamp",
            cls,
            tuple[int, str, str | None],
            _from_timestamp,
            _to_timestamp,
            _equal,
            frozen=True,
        )
    if cls is pd.Timedelta:
        return BoundCodec(
            "pandas Timedelta", cls, tuple[int, str], _from_timedelta, _to_timedelta, _equal, frozen=True
        )
    if cls is None or cls.__module__.partition(".")[0] != "pandas":
        return None
    if cls is not pd.DataFrame and cls is not pd.Series:
        raise CodecError(f"pandas' {cls.__name__} has no codec: keep a pd.DataFrame or a pd.Series")
    try:
        importlib.import_module("pyarrow")
    except ImportError:
        raise CodecError(
            f"a pandas {cls.__name__} is encoded in Arrow's format, and pyarrow is not installed: "
            "add pyarrow to the bot's dependencies"
        ) from None
    if cls is pd.DataFrame:
        return BoundCodec("pandas frame", cls, FrameBytes, _from_frame, _to_frame, _equal_frames)
    return BoundCodec("pandas series", cls, FrameBytes, _from_series, _to_series, _equal_frames)


def _from_frame(frame: Any) -> FrameBytes:
    pa: Any = importlib.import_module("pyarrow")

    if not frame.columns.is_unique:
        raise CodecError(
            "the pandas frame has two columns of one name, which Arrow does not take: rename one"
        )
    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowException, TypeError, ValueError) as problem:
        raise CodecError(
            f"the pandas frame cannot become an Arrow table ({problem}): give each column one type"
        ) from None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    objects = [at for at, dtype in enumerate(frame.dtypes) if dtype.kind == "O" and str(dtype) == "object"]
    freq = getattr(frame.index, "freqstr", None) or ""
    return FrameBytes(sink.getvalue().to_pybytes(), freq, objects)


def _to_frame(data: FrameBytes) -> Any:
    pa: Any = importlib.import_module("pyarrow")

    try:
        with pa.ipc.open_stream(data.arrow) as reader:
            frame: Any = reader.read_all().to_pandas()
        for at in data.objects:
            name = frame.columns[at]
            if str(frame[name].dtype) != "object":
                frame[name] = frame[name].astype(object)
        if data.freq and isinstance(frame.index, (pd.DatetimeIndex, pd.TimedeltaIndex)):
            frame.index.freq = data.freq
    except Exception as problem:
        raise CodecError(
            f"pandas {pd.__version__} with pyarrow {pa.__version__} cannot read this frame ({problem}): "
            "use the versions that wrote it, or drop it in a migration"
        ) from None
    return frame


def _from_series(series: Any) -> FrameBytes:
    frame = series.to_frame() if series.name is not None else series.to_frame("values")
    data = _from_frame(frame)
    data.named = series.name is not None
    return data


def _to_series(data: FrameBytes) -> Any:
    series = _to_frame(data).iloc[:, 0]
    if not data.named:
        series.name = None
    return series


def _equal_frames(one: Any, other: Any) -> bool:
    if type(one) is not type(other) or not one.equals(other):
        return False
    same_labels = one.index.names == other.index.names and one.index.dtype == other.index.dtype
    if isinstance(one, pd.Series):
        return same_labels and one.dtype == other.dtype and one.name == other.name
    return same_labels and list(one.dtypes) == list(other.dtypes) and one.columns.equals(other.columns)


def _from_timestamp(value: Any) -> tuple[int, str, str | None]:
    return value.value, value.unit, None if value.tz is None else _zone(value.tz)


def _zone(zone: Any) -> str:
    if zone is datetime.UTC:
        return "UTC"
    return getattr(zone, "key", None) or str(zone)


def _to_timestamp(data: tuple[int, str, str | None]) -> Any:
    ns, unit, zone = data
    stamp = pd.Timestamp(ns, unit="ns", tz="UTC") if zone is not None else pd.Timestamp(ns, unit="ns")
    try:
        stamp = stamp.as_unit(unit)
        return stamp if zone is None else stamp.tz_convert(zone)
    except Exception as problem:
        raise CodecError(f"not a pandas Timestamp: {data!r} ({problem})") from None


def _from_timedelta(value: Any) -> tuple[int, str]:
    return value.value, value.unit


def _to_timedelta(data: tuple[int, str]) -> Any:
    ns, unit = data
    return pd.Timedelta(ns, unit="ns").as_unit(unit)


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other) and one.unit == other.unit
