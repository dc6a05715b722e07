"""pydantic: models, as a map of their fields.

msgspec encodes the values of the fields, not pydantic's JSON, in which NaN becomes null and a secret becomes asterisks.
A model is validated when it is decoded. The error of one that no longer fits quotes pydantic.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from .codec import BoundCodec, CodecError
from .hints import class_of

__all__ = ["bind"]

pydantic: Any = importlib.import_module("pydantic")


def bind(hint: Any, default: Any) -> BoundCodec | None:
    """The codec of a pydantic model."""
    cls = class_of(hint)
    if cls is None or not issubclass(cls, pydantic.BaseModel):
        return None
    if tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 11):
        raise CodecError(f"pydantic {pydantic.VERSION} is too old for states: install pydantic 2.11 or newer")
    if issubclass(cls, pydantic.RootModel):
        return BoundCodec(cls.__name__, cls, Any, _from_model, _reader(cls), _equal)
    # `hint` and not the class: a generic model is read with its parameters.
    return BoundCodec(cls.__name__, cls, dict[str, Any], _from_model, _reader(hint), _equal)


def _from_model(model: Any) -> Any:
    return model.model_dump(round_trip=True, by_alias=False)


def _reader(cls: Any) -> Callable[[Any], Any]:
    def read(data: Any) -> Any:
        try:
            # Not strict: of a decimal or a date msgspec makes text.
            return cls.model_validate(data, strict=False, by_alias=False, by_name=True)
        except pydantic.ValidationError as problem:
            found = problem.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, found["loc"]))
            raise CodecError(f"{cls.__name__}{f'.{where}' if where else ''}: {found['msg']}") from None

    return read


def _equal(one: Any, other: Any) -> bool:
    # Their text, because a NaN in a field is not equal to itself.
    return type(one) is type(other) and (bool(one == other) or repr(one) == repr(other))
