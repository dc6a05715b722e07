"""The hooks that msgspec is given for one declared type: which codecs it has, and how its values become bytes.

A field has codecs only for the types that it declares. A deque in a field declared `list[float]` would come back as a
list, so it is an error that says what to declare. The exception are values that differ from what is declared only by
their class, such as numpy's float in a field declared `float`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import msgspec

from .codec import BoundCodec, Codec, CodecError
from .hints import class_of, custom_hints, union_members
from .plain_values import plain_value

__all__ = ["TypeHooks", "find_codec"]

_SHIPPED = {
    "collections": "collections_codec",
    "numpy": "numpy_codec",
    "pandas": "pandas_codec",
    "polars": "polars_codec",
    "pydantic": "pydantic_codec",
}
"""By the package that a class, or one of its bases, is from. Where one is, that package is imported already."""


class TypeHooks:
    """The codecs of `hint`, and of every type within it.

    `own` are the bot's codecs, `default` is a value that a field of this type has by default, `ignored` is a class that
    needs none. Raises `CodecError` for a type that nothing can encode.
    """

    def __init__(self, hint: Any, own: Sequence[Codec[Any]] = (), default: Any = None) -> None:
        self.bound: dict[Any, BoundCodec] = {}
        self._own = own
        members = union_members(hint)
        for custom in _every_custom(hint, self.bound, own, members, default):
            raise CodecError(f"it {'is' if custom in members else 'holds'} {_no_codec(custom)}")
        self.by_class = {codec.cls: codec for codec in self.bound.values()}
        self.encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder(enc_hook=self.to_wire).encode

    @classmethod
    def of_all(cls, hooks: Iterable[TypeHooks], own: Sequence[Codec[Any]]) -> TypeHooks:
        """The codecs of several types together, for what may be of any of them."""
        found = cls(Any, own)
        for each in hooks:
            found.bound |= each.bound
            found.by_class |= each.by_class
        return found

    def decoder(self, hint: Any) -> Callable[[bytes], Any]:
        """What decodes `hint`, which is this type or a part of it."""
        if not self.bound:
            return msgspec.msgpack.Decoder(hint).decode
        return msgspec.msgpack.Decoder(hint, dec_hook=self.from_wire).decode

    def to_wire(self, value: Any) -> Any:
        """msgspec's enc_hook. Raises `CodecError`."""
        cls = cast("type[Any]", type(value))
        codec = self.by_class.get(cls)
        if codec is None:
            codec = next((self.by_class[base] for base in cls.__mro__ if base in self.by_class), None)
            if codec is None:
                return plain_value(value)
            if not codec.subclasses:
                raise CodecError(
                    f"a {cls.__name__} where a {codec.cls.__name__} is declared becomes a {codec.cls.__name__} "
                    f"in every other process: keep a {codec.cls.__name__}, or write a codec for {cls.__name__}"
                )
        return codec.encode(value)

    def from_wire(self, hint: Any, data: Any) -> Any:
        """msgspec's dec_hook. Raises `CodecError`, to which msgspec adds where it was."""
        codec = self.bound.get(hint) or self._bind(hint)
        if codec.wire is not Any:
            try:
                data = msgspec.convert(data, codec.wire, dec_hook=self.from_wire)
            except msgspec.ValidationError as problem:
                raise CodecError(f"{codec.name}: {str(problem).replace('`$', '`')}") from None
        return codec.decode(data)

    def _bind(self, hint: Any) -> BoundCodec:
        """Bind a type that is declared with a parameter, as within a generic Struct: it is known only here."""
        for custom in _every_custom(hint, self.bound, self._own, (), None):
            raise CodecError(f"it holds {_no_codec(custom)}")
        return self.bound[hint]


def find_codec(hint: Any, own: Sequence[Codec[Any]], default: Any = None) -> BoundCodec | None:
    """The codec of a type that msgspec does not know: the bot's own, or a shipped one. Raises `CodecError`."""
    cls = class_of(hint)
    for codec in own:
        if codec.type is cls:
            return codec.bound()
    for base in cls.__mro__ if cls is not None else ():
        shipped = _SHIPPED.get(base.__module__.partition(".")[0])
        if shipped is not None:
            module = importlib.import_module(f".{shipped}", __package__)
            found: BoundCodec | None = module.bind(hint, default)
            return found
    return None


def _every_custom(
    hint: Any, bound: dict[Any, BoundCodec], own: Sequence[Codec[Any]], members: tuple[Any, ...], default: Any
) -> Iterator[Any]:
    """Bind every type within `hint`, and within what codecs make of it; the ones without a codec are returned."""
    for custom in custom_hints(hint):
        if custom in bound:
            continue
        codec = find_codec(custom, own, default if custom in members else None)
        if codec is None:
            yield custom
            continue
        bound[custom] = codec
        yield from _every_custom(codec.wire, bound, own, (), None)


def _no_codec(hint: Any) -> str:
    cls = class_of(hint)
    name = cls.__name__ if cls is not None else str(hint)
    return (
        f"{name}, which cannot be encoded: keep what rebuilds it (a msgspec.Struct, numbers, text) and build it in "
        f"on_load, or declare how it travels: codecs = [Codec({name}, encode, decode)]"
    )
