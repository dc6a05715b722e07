"""numpy: arrays, and scalars of each kind.

An array is its dtype, its shape, its order in memory and its bytes, as plain data that a migration can read. Nothing of
it is pickled: an array of Python objects is refused. What is read is an array of its own memory, which can be written.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any, Literal, cast

import msgspec

from .codec import BoundCodec, CodecError
from .hints import class_of

__all__ = ["bind"]

np: Any = importlib.import_module("numpy")


class ArrayBytes(msgspec.Struct, omit_defaults=True):
    """An array. `dtype` is numpy's own description of it: text, or a list for records."""

    dtype: str | list[Any]
    shape: tuple[int, ...]
    data: bytes
    order: Literal["C", "F"] = "C"


def bind(hint: Any, default: Any) -> BoundCodec | None:
    """The codec of a type of numpy. Raises `CodecError` for one that has none."""
    cls = class_of(hint)
    if cls is np.ndarray:
        return BoundCodec("numpy array", np.ndarray, ArrayBytes, _from_array, _to_array, _equal_arrays)
    if cls is None or cls.__module__.partition(".")[0] != "numpy":
        return None
    if not issubclass(cls, np.generic):
        raise CodecError(
            f"numpy's {cls.__name__} has no codec: keep a np.ndarray, and what else it is made of, in the state"
        )
    return _scalar(cls)


def _from_array(array: Any) -> ArrayBytes:
    dtype = array.dtype
    if dtype.hasobject:
        raise CodecError(
            f"an array of dtype {dtype} holds Python objects, which have no bytes of their own: "
            "write array.astype(float) or another plain dtype, or keep a list"
        )
    described = dtype.str if dtype.names is None else np.lib.format.dtype_to_descr(dtype)
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return ArrayBytes(described, array.shape, array.tobytes(order), order)


def _to_array(data: ArrayBytes) -> Any:
    try:
        dtype = (
            np.dtype(data.dtype)
            if isinstance(data.dtype, str)
            else np.lib.format.descr_to_dtype(_descr(data.dtype))
        )
    except (TypeError, ValueError) as problem:
        raise CodecError(
            f"numpy {np.__version__} does not know the dtype {data.dtype!r} ({problem}): "
            "use the version that wrote it, or write a migration"
        ) from None
    if dtype.hasobject or min(data.shape, default=0) < 0:
        raise CodecError(f"not an array: dtype {dtype}, shape {data.shape}")
    if math.prod(data.shape) * dtype.itemsize != len(data.data):
        raise CodecError(f"{len(data.data)} bytes are no array of shape {data.shape} and dtype {dtype}")
    # Memory of its own: numpy gives out arrays over `bytes` that cannot be written.
    return np.ndarray(data.shape, dtype, bytearray(data.data), order=data.order)


def _descr(data: Any) -> Any:
    """A description of records as numpy wants it: each field is a tuple, and so are its shape and title."""
    if not isinstance(data, list):
        return data
    fields = cast("list[Any]", data)
    return [
        (
            tuple(field[0]) if isinstance(field[0], list) else field[0],
            _descr(field[1]),
            *map(tuple, field[2:]),
        )
        for field in fields
    ]


def _equal_arrays(one: Any, other: Any) -> bool:
    return (
        type(one) is type(other)
        and one.dtype == other.dtype
        and one.shape == other.shape
        and one.tobytes() == other.tobytes()
    )


def _scalar(cls: type[Any]) -> BoundCodec:
    name = f"np.{cls.__name__}"
    if cls is np.datetime64 or cls is np.timedelta64:
        return BoundCodec(name, cls, tuple[str, int], _from_time, _to_time, _equal_scalars, frozen=True)
    try:
        kind = np.dtype(cls).kind if cls not in _ABSTRACT else ""
    except TypeError:
        kind = ""
    if kind == "c" and cls is not np.clongdouble:
        return BoundCodec(
            name,
            cls,
            tuple[float, float],
            _from_complex,
            lambda parts: cls(complex(*parts)),
            _equal_scalars,
            frozen=True,
        )
    plain = {"b": bool, "i": int, "u": int, "f": float, "U": str, "S": bytes}.get(kind)
    if plain is None or cls is np.longdouble:
        raise CodecError(
            f"{name} has no codec: declare one of numpy's exact types, such as np.float64, or np.ndarray"
        )
    return BoundCodec(name, cls, plain, cast("Callable[[Any], Any]", plain), cls, _equal_scalars, frozen=True)


_ABSTRACT: frozenset[Any] = frozenset(
    {np.generic, np.number, np.integer, np.signedinteger, np.unsignedinteger, np.inexact, np.floating}
    | {np.complexfloating, np.flexible, np.character}
)


def _from_time(value: Any) -> tuple[str, int]:
    return value.dtype.str, int(value.astype(np.int64))


def _to_time(data: tuple[str, int]) -> Any:
    dtype, ticks = data
    if dtype[1:2] not in ("M", "m"):
        raise CodecError(f"{dtype!r} is not the dtype of a datetime64 or timedelta64")
    return np.array(ticks, np.int64).view(dtype)[()]


def _from_complex(value: Any) -> tuple[float, float]:
    return float(value.real), float(value.imag)


def _equal_scalars(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one.dtype == other.dtype and one.tobytes() == other.tobytes()
