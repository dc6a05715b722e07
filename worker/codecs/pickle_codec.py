"""pickle, for objects that have no other form. Nothing chooses it but an author, by name.

A pickle is a program: a process that can write the journal can run code in the process that reads it. It also depends
on the code it was made with: another version of the library may be unable to read it, so it names the version.
"""

from __future__ import annotations

import pickle
from importlib import metadata
from typing import Any, TypeVar

import msgspec

from .codec import Codec, CodecError

__all__ = ["pickled"]

T = TypeVar("T")


class PickleBytes(msgspec.Struct, array_like=True):
    """A pickle, and the name and version of the distribution that its class is from."""

    data: bytes
    by: str


def pickled(type: type[T]) -> Codec[T]:
    """A codec that pickles the values of a class: `codecs = [pickled(River)]`.

    Only for objects that have no other form, such as the models of a library. A state with a pickle can be read only
    with the version of the library that wrote it, or one that still reads it. Decoding a pickle runs code that is in
    it: a process that can write the journal can run code as the bot's user.
    """
    by = _distribution(getattr(type, "__module__", ""))

    def encode(value: T) -> PickleBytes:
        return PickleBytes(pickle.dumps(value, protocol=5), by)

    def decode(data: PickleBytes) -> T:
        try:
            value: Any = pickle.loads(data.data)
        except Exception as problem:
            text = f"{problem.__class__.__name__}: {problem}"
            raise CodecError(
                f"the pickle was written by {data.by} and cannot be read by {by}: {text}"
            ) from problem
        return value

    codec = Codec(type, encode, decode, wire=PickleBytes)
    # Two pickles of equal objects may differ, and the class may compare by identity.
    codec.equal = _same_class
    return codec


def _same_class(one: object, other: object) -> bool:
    return one.__class__ is other.__class__


def _distribution(module: str) -> str:
    package = module.partition(".")[0]
    try:
        return f"{package} {metadata.version(package)}"
    except (metadata.PackageNotFoundError, ValueError):
        return package
