"""Messages, drawn from their types, and bytes that are nearly one."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, cast, get_args

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from neverblink.protocol.grid import Gap

integers = st.integers(-(2**63), 2**64 - 1)
anything = st.recursive(
    st.none()
    | st.booleans()
    | integers
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
"""What both JSON and msgpack can say, and give back as it was."""

garbage = st.binary(max_size=200)


def kinds(union: Any) -> list[type[msgspec.Struct]]:
    """The types in a union of messages, or the one there is."""
    return list(get_args(union)) or [union]


def tag_of(kind: type[msgspec.Struct]) -> str:
    return str(kind.__struct_config__.tag)


@cache
def messages(kind: Any) -> st.SearchStrategy[Any]:
    """Any message of a type, or of any of the types in a union."""
    return _values(inspect.type_info(kind))


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Valid bytes with a few of them changed, lost, repeated or added: mostly no message, now and then another one."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        upto = draw(st.integers(at, min(len(data), at + 4)))
        data[at:upto] = draw(st.binary(max_size=4) | st.just(bytes(data[at:upto]) * 2))
    return bytes(data)


def _gap(first: int, more: int, kind: Literal["skipped", "missed"], cause: str) -> Gap:
    return Gap(first, first + more, kind, cause)


_gaps = st.builds(
    _gap,
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**62),
    st.sampled_from(("skipped", "missed")),
    st.text(max_size=12),
)
"""Not every pair of integers is a range."""


def _values(info: inspect.Type) -> st.SearchStrategy[Any]:
    found: Any = info
    match info:
        case inspect.StructType() if info.cls is Gap:
            return _gaps
        case inspect.StructType():
            parts = {field.name: _values(field.type) for field in info.fields}
            return st.builds(info.cls, **parts)
        case inspect.UnionType():
            return st.one_of([_values(part) for part in info.types])
        case inspect.LiteralType():
            return st.sampled_from(list(info.values))
        case inspect.EnumType():
            return st.sampled_from(list(info.cls))
        case inspect.ListType():
            return st.lists(_values(found.item_type), max_size=3)
        case inspect.VarTupleType():
            return st.lists(_values(found.item_type), max_size=3).map(tuple)
        case inspect.TupleType():
            return st.tuples(*(_values(part) for part in found.item_types))
        case inspect.IntType(ge=int(least)):
            return st.integers(least, 2**64 - 1)
        case inspect.BytesType(min_length=int()):
            return st.binary(min_size=found.min_length, max_size=found.max_length)
        case inspect.DictType():
            return st.dictionaries(_values(found.key_type), _values(found.value_type), max_size=3)
        case _:
            return _PLAIN[type(info)]


_PLAIN = cast(
    "dict[type, st.SearchStrategy[Any]]",
    {
        inspect.IntType: integers,
        inspect.StrType: st.text(max_size=12),
        inspect.BytesType: st.binary(max_size=12),
        inspect.BoolType: st.booleans(),
        inspect.NoneType: st.none(),
        inspect.AnyType: anything,
    },
)
