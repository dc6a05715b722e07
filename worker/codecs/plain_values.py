"""Values that are what msgspec knows in all but their class: numpy's scalars, and pandas' times.

`np.std(prices)` is a np.float64, also in a field that is declared `float`. It is encoded as the number that it is, and
every other process has that number, of the declared type. What has no such number exactly is refused.
"""

from __future__ import annotations

import sys
from typing import Any, cast

from .codec import CodecError

__all__ = ["plain_value"]

_DECLARE = {
    "deque": "deque[float]",
    "ndarray": "np.ndarray",
    "DataFrame": "its class",
    "Series": "its class",
    "BaseModel": "its class",
}


def plain_value(value: Any) -> Any:
    """The value as one that msgspec encodes. Raises `CodecError`, or `TypeError` for a value of any other class."""
    cls = cast("type[Any]", type(value))
    name = cls.__name__
    # Without an import: where the value is, its library was imported.
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and isinstance(value, numpy.generic):
        found: Any = value
        if value.dtype.kind in "biufUS":
            found = value.item()
        if isinstance(found, numpy.generic):
            raise CodecError(f"numpy's {name} has no plain form: declare the field as np.{name}")
        return found
    if pandas is not None and isinstance(value, (pandas.Timestamp, pandas.Timedelta)):
        if value.nanosecond if isinstance(value, pandas.Timestamp) else value.nanoseconds:
            raise CodecError(
                f"this {name} has nanoseconds, which Python's own class has not: declare pd.{name}"
            )
        return value.to_pydatetime() if isinstance(value, pandas.Timestamp) else value.to_pytimedelta()
    declare = next((_DECLARE[base.__name__] for base in cls.__mro__ if base.__name__ in _DECLARE), "")
    if declare:
        raise CodecError(
            f"a {name} cannot be encoded here, because the declared type does not name it: declare {declare}"
        )
    raise TypeError(f"no codec of the declared type encodes {name}")
