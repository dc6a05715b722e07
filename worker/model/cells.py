"""Cells: what changed in the state since the last boundary, and how a follower applies it.

At a boundary every cell is encoded, and its bytes are compared with those of the boundary before. No write has to go
through neverblink, no proxy stands between the bot and its own objects, and a change deep in a nested dict is found
like any other. The cost is one encoding of the root after a turn, and one before it to find changes made outside a turn
(2 KB: 5 µs together, 15 when the processor has slept). What is too large for that is a `Table`, which notes the keys
that were written. Only tables watch writes.

A follower does the reverse, with types: bytes that don't fit the state's type are an error that names the field, and a
change is applied whole or not at all.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, cast

import msgspec

from ...protocol.frame import NOTHING, Changes, Schema
from ...protocol.wire import NOT_ENCODABLE
from ..codecs.codec import BoundCodec, Codec, CodecError
from ..codecs.type_hooks import TypeHooks
from .cell import Cell, CellEncoder, CellPace
from .changes_reader import ChangesReader, Row, StateUnreadable
from .dict_walk import DictWalk
from .encode_errors import find_unencodable
from .mends import described, mend_for_unencodable
from .shape import CellField, Shape, StateTypeError, TableField
from .state_replacement import refill
from .state_schema import state_schema
from .table import RowTypeError, StateError, Table, TurnGuard
from .table_rows import RowEncoder

__all__ = ["Cells", "RowTypeError", "Shape", "StateError", "StateTypeError", "StateUnreadable"]

AnyTable = Table[Any, Any]

_UNREAD_ROWS = 256
"""So many written rows of a table are noted to be read back, or those of one turn, until there is room again."""


class Cells:
    """Encodes and decodes one bot's state, and keeps the encoding of the last boundary.

    `state_type` is the state's type, `version` its schema version; `guard` decides when tables may be written (None:
    always); `codecs` are the bot's own. There is one in each process. Raises `StateTypeError` or `RowTypeError` for a
    type that can't be a state.
    """

    def __init__(
        self,
        state_type: Any,
        version: int = 1,
        guard: TurnGuard | None = None,
        codecs: Sequence[Codec[Any]] = (),
    ) -> None:
        self.shape = Shape(state_type, codecs)
        self.schema: Schema = self.shape.schema(version)
        self._guard = guard
        self._encode: Callable[[Any], bytes] = TypeHooks(Any).encode
        self._values = self.shape.values()
        self._names = tuple(cell.name for cell in self.shape.cells)
        self._cells = {cell.name: cell for cell in self.shape.cells}
        self.pace = CellPace()
        """When Cells are encoded that say how often they may be."""
        self._encoders = tuple(map(self._encoder, self.shape.cells))
        self._all_hooks = TypeHooks.of_all(
            [part.hooks for part in (*self.shape.cells, *self.shape.tables)], codecs
        )
        self.held_names = tuple(cell.name for cell in self.shape.cells if cell.held is not None)
        """The cells that are a `Cell`: only their own word tells that they changed."""
        self._plain = all(encoder is self._encode for encoder in self._encoders)
        """No cell needs an encoder of its own."""
        self.reader = ChangesReader(self.shape, version)
        self._row_encode = {
            table.name: table.hooks.encode if table.hooks.bound else self._encode
            for table in self.shape.tables
        }
        self._rows = {name: RowEncoder(encode) for name, encode in self._row_encode.items()}
        self._index = {name: index for index, name in enumerate(self._names)}
        self._tables = {table.name: table for table in self.shape.tables}
        self.table_names = frozenset(self._tables)
        self._last: list[bytes] = []
        self._held: list[tuple[TableField, AnyTable]] = []
        self.unread: set[str] = set()
        """Cells that this process has written since they were read back last; see `Verifier`."""
        self.unread_rows: list[tuple[str, Iterable[Any]]] = []
        """Tables with keys of rows that it has written."""
        self._room: dict[str, int] = {}
        """Of how many more rows of a table the keys are noted there."""
        self.take_rows_again()

    @functools.cached_property
    def types(self) -> bytes:
        """The JSON Schema of the state, for the journal; empty for a type that it cannot describe."""
        try:
            return msgspec.json.encode(state_schema(self.shape))
        except Exception:
            # The journal is read without it too, only with fewer names: no bot is to fail for that.
            return b""

    def guard_by(self, guard: TurnGuard) -> None:
        """Let `guard` decide when tables may be written. Call it before there is a state."""
        self._guard = guard

    # --- the leader's side ---

    def fresh(self) -> Any:
        """Return the first state of a new bot: every field's default. It becomes that of the last boundary.

        Raises `StateError` when a field has no default.
        """
        try:
            state = self.shape.type()
        except TypeError as problem:
            lacking = ", ".join(cell.attr for cell in self.shape.cells if cell.required)
            raise StateError(
                f"a first {self.shape.name} cannot be made ({problem}): give "
                + (f"{lacking} a default" if lacking else "it a value that can be made without arguments"),
                lacking,
            ) from None
        self.settle(state)
        self.unread.update(self._names)
        self.unread_rows = [(field.name, list(table)) for field, table in self._held if table]
        return state

    def settle(self, state: Any) -> None:
        """Make `state`, as it is, that of the last boundary: changes until now will not be collected."""
        self._last = self._encoded(state)
        self._held = [(field, self._table(state, field)) for field in self.shape.tables]
        for _, table in self._held:
            table.take()

    def take_rows_again(self) -> None:
        """Note of each table the rows of the next turn, and of those after it up to `_UNREAD_ROWS` rows."""
        for name in self._tables:
            self._room[name] = _UNREAD_ROWS

    def forget(self) -> None:
        """Make the next `collect` return the whole state, in a form that replaces the follower's."""
        self._last = [b""] * len(self._names)
        self._held = []

    def collect(self, state: Any, *, all_of_it: bool = True) -> Changes:
        """Return what changed since the last boundary, and make this the last boundary.

        Unless `all_of_it`, a Cell that was encoded less than its `every` ago waits. Raises `StateError` for a value
        that cannot be encoded; the last boundary then stays as it was.
        """
        try:
            if self._plain:
                cells = list(map(self._encode, self._values(state)))
            else:
                with self.pace.boundary(all_of_it):
                    cells = list(map(_call, self._encoders, self._values(state)))
        except NOT_ENCODABLE as problem:
            self._blame(state, problem)
        if len(self._held) != len(self.shape.tables):
            return self._everything(state, cells)
        tables: dict[str, list[Row]] = {}
        replaced = False
        for field, held in self._held:
            table = getattr(state, field.attr)
            if table is not held:
                tables[field.name] = self._rows[field.name].exchanged(self._table(state, field), held)
                replaced = True
            elif held.touched:
                tables[field.name] = self._rows[field.name].touched(held)
        if tables:
            # Only now: if a row cannot be encoded, nothing may be forgotten.
            if replaced:
                self._held = [(field, getattr(state, field.attr)) for field in self.shape.tables]
            for field, table in self._held:
                if touched := table.touched:
                    if self._room[field.name] > 0:
                        self._room[field.name] -= len(touched)
                        self.unread_rows.append((field.name, touched))
                    table.touched = {}
        elif cells == self._last:
            return NOTHING
        last, self._last = self._last, cells
        changed: dict[str, bytes] = {}
        for index, name in enumerate(self._names):
            new = cells[index]
            if new != last[index]:
                changed[name] = new
        self.unread.update(changed)
        return Changes(changed, tables)

    def differing(self, state: Any) -> tuple[str, ...]:
        """The names of cells and tables that differ from the last boundary, to find changes made outside a turn."""
        try:
            if self._plain:
                cells = list(map(self._encode, self._values(state)))
            else:
                cells = list(map(_call, self._encoders, self._values(state)))
        except NOT_ENCODABLE as problem:
            self._blame(state, problem)
        names: list[str] = []
        if cells != self._last:
            pairs = zip(self._names, cells, self._last, strict=True)
            names += [name for name, new, old in pairs if new != old]
        for field, held in self._held:
            table = getattr(state, field.attr)
            if table is not held or table.touched:
                names.append(field.name)
        return tuple(names)

    # --- reading back what was written ---

    @property
    def names(self) -> tuple[str, ...]:
        """The cells."""
        return self._names

    @property
    def encode(self) -> Callable[[Any], bytes]:
        """How a value goes into bytes."""
        return self._all_hooks.encode

    @property
    def codecs(self) -> Mapping[type[Any], BoundCodec]:
        """The codecs of the state, by the classes of their values."""
        return self._all_hooks.by_class

    def decode_as(self, data: bytes, hint: Any) -> Any:
        """Decode a value of a type that is a part of the state's. Raises what is `UNDECODABLE`."""
        return self._all_hooks.decoder(hint)(data)

    def value(self, state: Any, name: str) -> Any:
        """A cell's value; where it is a `Cell`, what it holds."""
        cell = self._cells[name]
        value = getattr(state, cell.attr) if cell.attr else state
        return value if cell.held is None else cast("Cell[Any]", value).value

    def waits(self, state: Any, name: str) -> bool:
        """Whether this is a `Cell` that was touched and is encoded at a later boundary."""
        cell = self._cells[name]
        return cell.held is not None and cast("Cell[Any]", getattr(state, cell.attr)).touched

    def touch_is_missing(self, state: Any, name: str) -> bool:
        """Whether this is a `Cell` whose value was changed without `touch()`. Encodes it."""
        cell = self._cells[name]
        if cell.held is None:
            return False
        held = cast("Cell[Any]", getattr(state, cell.attr))
        return not held.touched and cell.hooks.encode(held.value) != held.data

    def type_of(self, name: str) -> Any:
        """The declared type of a cell."""
        return self._cells[name].type

    def size_of(self, name: str) -> int:
        """How many bytes a cell had at the last boundary."""
        return len(self._last[self._index[name]])

    def read_back(self, name: str) -> Any:
        """What another process reads of a cell, as of the last boundary. Raises what is `UNDECODABLE`."""
        return self._cells[name].decode(self._last[self._index[name]])

    def rows_of(self, state: Any, table: str) -> Mapping[Any, Any]:
        """A table's rows, by its name."""
        return getattr(state, self._tables[table].attr)

    def row_types(self, table: str) -> tuple[Any, Any]:
        """The declared types of a table's keys and rows."""
        return self._tables[table].types

    def row_read_back(self, table: str, key: Any, row: Any) -> tuple[Any, Any]:
        """What another process reads of a row. Raises what is `UNDECODABLE` or `NOT_ENCODABLE`."""
        field = self._tables[table]
        encode = self._row_encode[table]
        return field.decode_key(encode(key)), field.decode_row(encode(row))

    def check(self, changes: Changes) -> None:
        """Decode `changes` with types; raise `StateUnreadable` if another process could not read them.

        Encoding does not check types: an `int` in a field declared `str` is found only by decoding it. Costs as much
        as `apply`, so it is for tests, and for occasional checks when there is time before the next tick.
        """
        self.reader.changes(changes)

    def root(self, state: Any) -> dict[str, bytes]:
        """Every cell of `state`, encoded. With the rows of each table that is the whole state."""
        return dict(zip(self._names, self._encoded(state), strict=True))

    def boundary(self) -> dict[str, bytes]:
        """Every cell as it was at the last boundary. Costs no encoding."""
        return dict(zip(self._names, self._last, strict=True))

    def sizes(self, state: Any) -> dict[str, int]:
        """Each table with its number of rows."""
        return {field.name: len(getattr(state, field.attr)) for field in self.shape.tables}

    def keys(self, state: Any, table: str) -> Iterator[Any]:
        """The keys of a table, in order. The table must not change meanwhile."""
        return iter(getattr(state, self._tables[table].attr))

    def walk(self, state: Any, table: str) -> DictWalk:
        """Begin a walk over the present keys of a table, in order. The table may change during the walk."""
        return self._table(state, self._tables[table]).walk()

    def rows(self, state: Any, table: str, keys: Iterable[Any]) -> list[tuple[bytes, bytes]]:
        """The present rows of a table at `keys`, encoded; keys that were deleted are left out."""
        found: dict[Any, Any] = getattr(state, self._tables[table].attr)
        encode = self._row_encode[table]
        return [(encode(key), encode(found[key])) for key in keys if key in found]

    # --- the follower's side ---

    def load(self, cells: Mapping[str, bytes], source: int | None = None) -> Any:
        """Make a state from a root's cells, with empty tables; it becomes that of the last boundary.

        Unknown cells are ignored, missing ones get their default. `source` is the schema version that they were
        written in, for messages. Raises `StateUnreadable`.
        """
        if self.shape.single:
            if "" not in cells:
                raise StateUnreadable(
                    "", f"a single {self.shape.name} was expected, not fields", self.reader.mend(source)
                )
            state = self.reader.cell(self._cells[""], cells[""], source)
        else:
            arguments = {
                cell.attr: self.reader.cell(cell, cells[cell.name], source)
                for cell in self.shape.cells
                if cell.name in cells
            }
            for cell in self.shape.cells:
                if cell.required and cell.name not in cells:
                    raise StateUnreadable(
                        cell.attr,
                        "it is required and the state has none",
                        self.reader.mend(source, "give it a default or "),
                    )
            state = self.shape.type(**arguments)
        self.settle(state)
        moved = {name: data for name, data in cells.items() if name in self._tables}
        if moved:
            self.apply(state, Changes(moved, {}), source)
        return state

    def apply(self, state: Any, changes: Changes, source: int | None = None) -> None:
        """Apply what a leader collected to `state`, whole or not at all; it becomes that of the last boundary.

        Unknown cells and tables are ignored. A dict that is a Table on the other side, or the reverse, is read as what
        it is here. `source` is as for `load`. Raises `StateUnreadable`.
        """
        values, tables = self.reader.changes(changes, source)
        for cell, value in values:
            if self.shape.single:
                refill(state, value)
            else:
                setattr(state, cell.attr, value)
        for field, clear, rows in tables:
            _write(getattr(state, field.attr), rows, clear=clear)
        # Encoded here, not taken from `changes`: another release may encode the same value differently, and it would
        # look changed. Cells that came by rows are among these names.
        for name in {
            *(cell.name for cell, _ in values),
            *(field.name for field, _, _ in tables),
        } & self._index.keys():
            cell = self._cells[name]
            value = getattr(state, cell.attr) if cell.attr else state
            self._last[self._index[name]] = self._encoders[self._index[name]](value)

    def table(self, state: Any, name: str) -> tuple[Table[Any, Any], TableField]:
        """A table of `state`, and how it is read."""
        field = self._tables[name]
        return self._table(state, field), field

    def size_of_changes(self, state: Any) -> int:
        """How many bytes of `state` differ from the last boundary, about."""
        size = sum(len(new) for new, old in zip(self._encoded(state), self._last, strict=True) if new != old)
        for field in self.shape.tables:
            table, encode = self._table(state, field), self._row_encode[field.name]
            size += sum(len(encode(key)) + len(encode(table.get(key))) for key in table.touched)
        return size

    # --- parts ---

    def _everything(self, state: Any, cells: list[bytes]) -> Changes:
        """The whole state, each table as one cell, because that replaces the rows that a follower may have."""
        tables = {field.name: self._table(state, field) for field in self.shape.tables}
        whole = dict(zip(self._names, cells, strict=True))
        whole |= {name: self._row_encode[name](dict(table)) for name, table in tables.items()}
        self.settle(state)
        return Changes(whole, {})

    def _encoded(self, state: Any) -> list[bytes]:
        try:
            return list(map(_call, self._encoders, self._values(state)))
        except NOT_ENCODABLE as problem:
            self._blame(state, problem)

    def _encoder(self, cell: CellField) -> Callable[[Any], bytes]:
        """What encodes the value of a field."""
        if cell.held is not None:
            return CellEncoder(cell.attr, cell.hooks.encode, self.pace)
        return cell.hooks.encode if cell.hooks.bound else self._encode

    def _table(self, state: Any, field: TableField) -> AnyTable:
        """The table in a field, with the guard set."""
        table = getattr(state, field.attr)
        if type(table) is not Table:
            raise StateError(
                f"table {field.attr} was replaced by a {type(table).__name__}: "
                "assign a Table, or clear and update it",
                field.attr,
            )
        table = cast("AnyTable", table)
        table.guard, table.name, table.row = self._guard, field.attr, field.row
        return table

    def _blame(self, state: Any, problem: Exception) -> NoReturn:
        """Raise for the value that can't be encoded."""
        for cell, value in zip(self.shape.cells, self._values(state), strict=True):
            if cell.held is not None:
                value = cast("Cell[Any]", value).value
            found = find_unencodable(value, cell.attr or "state", cell.hooks.encode)
            if found is not None:
                path, unencodable, why = found
                if isinstance(problem, CodecError):
                    raise StateError(f"state field {path}: {why}", cell.attr) from problem.__cause__
                raise StateError(
                    f"state field {path}: {described(unencodable)} cannot be encoded: "
                    f"{mend_for_unencodable(unencodable, why)}",
                    cell.attr,
                ) from None
        raise StateError(f"the state cannot be encoded: {problem}") from None


_call: Callable[[Callable[[Any], bytes], Any], bytes] = operator.call  # pyright: ignore[reportAssignmentType]


def _write(table: dict[Any, Any], rows: list[tuple[Any, bool, Any]], *, clear: bool) -> None:
    """Write rows without the table's guard and its `touched`: the bot did not write them."""
    # dict's own methods, which a Table overrides. A plain dict is written the same way.
    plain: Any = dict
    if clear:
        plain.clear(table)
    for key, present, row in rows:
        if present:
            plain.__setitem__(table, key, row)
        else:
            plain.pop(table, key, None)
