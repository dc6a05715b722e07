"""What a codec is: how values of one class become plain data, and are made again from it.

Authors declare a `Codec` for a class of their own. For each type that a state declares, one becomes a `BoundCodec`: the
shipped ones learn there what is in a `deque[float]`, and what a `defaultdict[str, int]` makes of a missing key.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import inspect

from ...protocol.errors import NeverblinkError

__all__ = ["BoundCodec", "Codec", "CodecError"]

T = TypeVar("T")

_ENCODED_BY_MSGSPEC = (dict, list, tuple, set, frozenset)
"""Subclasses of these are encoded by msgspec as what they are, without a hook."""


class CodecError(NeverblinkError, TypeError):
    """A codec that cannot be, a type that it cannot carry, or a value that it cannot encode or decode."""


class Codec(Generic[T]):
    """Says how values of a class that msgspec does not know travel.

        codecs = [Codec(River, encode=River.to_dict, decode=River.from_dict)]

    `encode` gets a value and returns data that msgspec encodes: numbers, text, bytes, lists, dicts, Structs. `decode`
    gets that data and returns an equal value. With `wire`, the data is decoded as that type first: `decode` gets a
    Struct instead of a dict. With `frozen`, values of the class never change in place, so rows of a Table may have
    them. Raises `CodecError` for arguments that cannot be a codec.
    """

    def __init__(
        self,
        type: type[T],
        encode: Callable[[T], Any],
        decode: Callable[[Any], T],
        *,
        wire: Any = Any,
        frozen: bool = False,
    ) -> None:
        name = getattr(type, "__name__", None) or repr(type)
        if not isinstance(cast("object", type), _class):
            raise CodecError(
                f"Codec({name}, ...): expected a class, such as Codec(River, to_dict, from_dict)"
            )
        for function, what in ((encode, "encode"), (decode, "decode")):
            if not callable(function):
                raise CodecError(f"Codec({name}, ...): {what} is {function!r}: expected a function")
        if not isinstance(inspect.type_info(type), inspect.CustomType):
            raise CodecError(
                f"Codec({name}, ...): msgspec encodes {name} itself, so the codec would never be called: remove it"
            )
        native = next((base for base in _ENCODED_BY_MSGSPEC if issubclass(type, base)), None)
        if native is not None and encode is not native:
            raise CodecError(
                f"Codec({name}, ...): msgspec encodes a subclass of {native.__name__} as a {native.__name__} and never "
                f"calls encode: write encode={native.__name__}"
            )
        try:
            msgspec.msgpack.Decoder(wire, dec_hook=lambda _, data: data)
        except TypeError as problem:
            raise CodecError(f"Codec({name}, ...): wire={wire!r}: {problem}") from None
        self.type: Any = type
        self.encode = encode
        self.decode = decode
        self.wire = wire
        self.frozen = frozen
        self.equal: Callable[[Any, Any], bool] = _equal
        """Whether a value is what was read back of it, as far as the values themselves tell; else their bytes do."""

    def bound(self) -> BoundCodec:
        """This codec as the state uses it: what its functions raise is reported as theirs, with the line."""
        name = self.type.__name__
        return BoundCodec(
            name=name,
            cls=self.type,
            wire=self.wire,
            encode=_reported(self.encode, name, "encode"),
            decode=_reported(self.decode, name, "decode"),
            equal=self.equal,
            subclasses=True,
            frozen=self.frozen,
        )


_class = type


@dataclasses.dataclass(frozen=True, slots=True)
class BoundCodec:
    """A codec for one declared type."""

    name: str
    """What messages and the fingerprint call it."""
    cls: type[Any]
    """The class of its values."""
    wire: Any
    """The type of the encoded form."""
    encode: Callable[[Any], Any]
    """A value as `wire`. Never called for subclasses of dict."""
    decode: Callable[[Any], Any]
    """A value of a `wire`."""
    equal: Callable[[Any, Any], bool] = operator.eq
    """Whether a value is what was read back of it. Not called for collections, whose items are compared one by one."""
    subclasses: bool = False
    """Whether `encode` also takes values of a subclass."""
    frozen: bool = False
    """Whether its values never change in place."""


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:
        # The class's own comparison may give what has no truth, as that of arrays does.
        return False


def _reported(function: Callable[[Any], Any], name: str, what: str) -> Callable[[Any], Any]:
    def call(value: Any) -> Any:
        try:
            return function(value)
        except CodecError:
            raise
        except Exception as problem:
            text = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
            raise CodecError(f"the codec of {name}: {what}{_line_of(problem)} raised {text}") from problem

    return call


def _line_of(problem: Exception) -> str:
    """Where in the author's function it happened, as " (bot.py:12)"; "" for a function without lines."""
    trace = problem.__traceback__
    trace = trace.tb_next if trace is not None else None
    if trace is None:
        return ""
    return f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"
