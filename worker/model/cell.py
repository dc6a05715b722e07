"""Cell: a large value that says itself when it changed.

A field of the state is encoded at each boundary, to see whether it changed. For a model of 100 KB that costs too much.
A `Cell` holds one such value and is encoded only after `touch()`. Nothing watches the value, so a change without a
touch reaches no other process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Generic, TypeVar, cast

from ...protocol import duration
from .table import StateError

__all__ = ["Cell", "CellEncoder", "CellPace"]

T = TypeVar("T")


class Cell(Generic[T]):
    """A value of the state that is encoded when it says that it changed.

        class Book(msgspec.Struct):
            model: Cell[River] = msgspec.field(default_factory=lambda: Cell(River()))

        self.state.model.value.learn_one(x, y)
        self.state.model.touch()

    Only as a direct field of the state. Assigning `value` touches it too. With `every="10s"` it is encoded at most so
    often, however often it is touched, and always before another process takes over; after a crash the successor
    has it as it was encoded last, while the rest of the state is that of the last turn.
    """

    __slots__ = ("_changes", "_data", "_encoded", "_encoded_at", "_value", "_waits", "every")

    def __init__(self, value: T, /, *, every: str | None = None) -> None:
        self._value = value
        self._changes = 0
        """How often it was touched."""
        self._data = b""
        self._encoded = -1
        """After how many changes it was encoded last; -1: never."""
        self._encoded_at = 0
        self._waits = -1
        """After how many changes a boundary left it for later."""
        self.every = duration.parse(every) if every is not None else 0
        """The shortest time between two encodings, ns."""

    @property
    def value(self) -> T:
        """The value. Call `touch` after changing it in place."""
        return self._value

    @value.setter
    def value(self, value: T) -> None:
        self._value = value
        self._changes += 1

    def touch(self) -> None:
        """Say that the value was changed. Only in a turn, as every change of the state."""
        self._changes += 1

    @contextmanager
    def change(self) -> Generator[T]:
        """Change the value within `with cell.change() as value:`; it is touched at the end, also after an error."""
        try:
            yield self._value
        finally:
            self._changes += 1

    @property
    def touched(self) -> bool:
        """Whether the value was touched since it was encoded last."""
        return self._encoded != self._changes

    @property
    def data(self) -> bytes:
        """The value as it was encoded last."""
        return self._data

    def read(self, value: Any, data: bytes) -> Cell[Any]:
        """A cell like this one of the value that was read from `data`."""
        cell = Cell(value)
        cell.every = self.every
        cell._data, cell._encoded = data, 0
        return cell

    def encoded(self, encode: Callable[[T], bytes], pace: CellPace) -> bytes:
        """The value as bytes, encoded now if it was touched and may be encoded now."""
        if self._encoded == self._changes or (self._waits == self._changes and not pace.at_boundary):
            return self._data
        if pace.at_boundary and not pace.hurry and self._encoded >= 0 and self.every:
            now = pace.clock()
            if now - self._encoded_at < self.every:
                self._waits = self._changes
                pace.waiting = True
                return self._data
        began = pace.clock()
        data = encode(self._value)
        now = pace.clock()
        pace.spent += now - began
        self._data, self._encoded, self._encoded_at = data, self._changes, now
        return data

    def __copy__(self) -> Cell[T]:
        return self._like(self._value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell[T]:
        return self._like(deepcopy(self._value, memo))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and bool(self._value == cast("Cell[Any]", other).value)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"Cell({self._value!r})"

    def _like(self, value: T) -> Cell[T]:
        """A cell of this value that belongs to no state yet."""
        cell = Cell(value)
        cell.every = self.every
        return cell


class CellPace:
    """Of one state: when a Cell that says how often it may be encoded is, and how long the encoding took."""

    def __init__(self) -> None:
        self.clock: Callable[[], int] = time.monotonic_ns
        self.at_boundary = False
        self.hurry = False
        """At this boundary each Cell is encoded that was touched."""
        self.waiting = False
        """A Cell was touched and waits for a later boundary."""
        self.spent = 0
        """How long encoding Cells took at the last boundary, ns."""

    @contextmanager
    def boundary(self, hurry: bool) -> Generator[None]:
        """Within this, the state is encoded for a frame."""
        self.at_boundary, self.hurry, self.waiting, self.spent = True, hurry, False, 0
        try:
            yield
        finally:
            self.at_boundary = False


class CellEncoder:
    """Encodes a field of the state that is a Cell."""

    def __init__(self, name: str, encode: Callable[[Any], bytes], pace: CellPace) -> None:
        self._name = name
        self._encode = encode
        self._pace = pace

    def __call__(self, cell: Any) -> bytes:
        if type(cell) is not Cell:
            raise StateError(
                f"cell {self._name} was replaced by a {type(cell).__name__}: assign to its value, as in "
                f"self.state.{self._name}.value = ...",
                self._name,
            )
        return cast("Cell[Any]", cell).encoded(self._encode, self._pace)
