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

import copy
import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, NoReturn, cast

import msgspec

from ...protocol.frame import NOTHING, Changes, Schema
from ...protocol.wire import NOT_ENCODABLE, UNDECODABLE
from ..codecs.codec import BoundCodec, Codec, CodecError
from ..codecs.type_hooks import TypeHooks
from .cell import Cell, CellEncoder, CellPace
from .dict_walk import DictWalk
from .encode_errors import find_unencodable
from .mends import described, mend_for_unencodable
from .shape import CellField, Shape, StateTypeError, TableField
from .state_schema import state_schema
from .table import RowTypeError, StateError, Table, TurnGuard

__all__ = ["Cells", "RowTypeError", "Shape", "StateError", "StateTypeError", "StateUnreadable"]

Row = tuple[bytes, bytes | None]
AnyTable = Table[Any, Any]


class StateUnreadable(StateError):
    """A state that this code cannot read; `field` names the part, `problem` what was expected and what was found."""

    def __init__(self, field: str, problem: str, mend: str) -> None:
        super().__init__(f"state field {field!r}: {problem}: {mend}", field)
        self.problem = problem
        self.written_by_bug = False
        """The code that wrote it declares the same types, so it wrote a value of another type than it declares."""

    def as_written_by_bug(self) -> StateUnreadable:
        """The same of a state that this very code wrote: no migration is missing."""
        found = StateUnreadable(
            self.field,
            self.problem,
            "the code that wrote it declares this type too, so a bug wrote a value of another one: deploy code that "
            "declares what is there, as in `float | None`",
        )
        found.written_by_bug = True
        return found


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
        self._all_hooks = TypeHooks.of_all([cell.hooks for cell in self.shape.cells], codecs)
        self.held_names = tuple(cell.name for cell in self.shape.cells if cell.held is not None)
        """The cells that are a `Cell`: only their own word tells that they changed."""
        self._plain = all(encoder is self._encode for encoder in self._encoders)
        """No cell needs an encoder of its own."""
        self._index = {name: index for index, name in enumerate(self._names)}
        self._tables = {table.name: table for table in self.shape.tables}
        self.table_names = frozenset(self._tables)
        self._last: list[bytes] = []
        self._held: list[tuple[TableField, AnyTable]] = []
        self.unread: set[str] = set()
        """Cells that this process has written since they were read back last; see `Verifier`."""
        self.unread_rows: list[tuple[str, Iterable[Any]]] = []
        """Tables with keys of rows that it has written."""

    def reader(self, name: str) -> Callable[[bytes], Any] | None:
        """How this code reads the cell of that name, None when it has no such cell."""
        cell = self._cells.get(name)
        return cell.decode if cell is not None else None

    def row_reader(self, name: str) -> Callable[[bytes], Any] | None:
        """How this code reads a row of that name, None when it does not read the field by rows."""
        cell = self._cells.get(name)
        field = self._tables.get(name) or (cell.parts if cell is not None else None)
        return field.decode_row if field is not None else None

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
                tables[field.name] = self._exchanged(self._table(state, field), held)
                replaced = True
            elif held.touched:
                tables[field.name] = self._touched(held)
        if tables:
            # Only now: if a row cannot be encoded, nothing may be forgotten.
            if replaced:
                self._held = [(field, getattr(state, field.attr)) for field in self.shape.tables]
            for field, table in self._held:
                if table.touched:
                    self.unread_rows.append((field.name, table.touched))
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
        return field.decode_key(self._encode(key)), field.decode_row(self._encode(row))

    def check(self, changes: Changes) -> None:
        """Decode `changes` with types; raise `StateUnreadable` if another process could not read them.

        Encoding does not check types: an `int` in a field declared `str` is found only by decoding it. Costs as much
        as `apply`, so it is for tests, and for occasional checks when there is time before the next tick.
        """
        self._decoded(changes, None)

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
        encode = self._encode
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
                    "", f"a single {self.shape.name} was expected, not fields", self._mend(source)
                )
            state = self._read(self._cells[""], cells[""], source)
        else:
            arguments = {
                cell.attr: self._read(cell, cells[cell.name], source)
                for cell in self.shape.cells
                if cell.name in cells
            }
            for cell in self.shape.cells:
                if cell.required and cell.name not in cells:
                    raise StateUnreadable(
                        cell.attr,
                        "it is required and the state has none",
                        self._mend(source, "give it a default or "),
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
        values, tables = self._decoded(changes, source)
        for cell, value in values:
            if self.shape.single:
                _refill(state, value)
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

    # --- the whole state, or a part of it, from elsewhere ---

    def replacement(
        self,
        cells: Mapping[str, bytes],
        tables: Mapping[str, list[tuple[bytes, bytes]]],
        source: int | None = None,
        *,
        partial: bool = False,
    ) -> Callable[[Any], Callable[[], None]]:
        """Read another state; return a function that makes a state hold it, and returns how to undo that.

        The function runs in a turn, whose frame then has what differs. Tables are given whole. With `partial`, what is
        not given stays; otherwise it gets its default. Raises `StateUnreadable` when this code cannot read it.
        """
        rows: dict[str, list[Row]] = {name: [*some] for name, some in tables.items()}
        values, found = self._decoded(Changes(dict(cells), rows), source)
        new = {cell.attr: value for cell, value in values}
        wanted = {field.attr: {key: row for key, _, row in some} for field, _, some in found}
        if not partial and not self.shape.single:
            new = {**self._defaults(new.keys() | wanted.keys(), source), **new}
            wanted = {**{field.attr: {} for field in self.shape.tables}, **wanted}
        names = {field.attr for field in self.shape.tables}
        # What comes by rows may be a plain dict here.
        new |= {attr: rows for attr, rows in wanted.items() if attr not in names}
        exchanged = {attr: rows for attr, rows in wanted.items() if attr in names}
        return lambda state: self._replace(state, new, exchanged)

    def table(self, state: Any, name: str) -> tuple[Table[Any, Any], TableField]:
        """A table of `state`, and how it is read."""
        field = self._tables[name]
        return self._table(state, field), field

    def size_of_changes(self, state: Any) -> int:
        """How many bytes of `state` differ from the last boundary, about."""
        encode = self._encode
        size = sum(len(new) for new, old in zip(self._encoded(state), self._last, strict=True) if new != old)
        for field in self.shape.tables:
            table = self._table(state, field)
            size += sum(len(encode(key)) + len(encode(table.get(key))) for key in table.touched)
        return size

    def _defaults(self, known: Set[str], source: int | None) -> dict[str, Any]:
        missing = [cell for cell in self.shape.cells if cell.attr not in known]
        for cell in missing:
            if cell.required:
                raise StateUnreadable(
                    cell.attr,
                    "it is required and the state has none",
                    self._mend(source, "give it a default or "),
                )
        try:
            fresh = self.shape.type() if missing else None
        except TypeError:
            # Other fields have no default; those of a record are made one by one.
            needed = {cell.attr: None for cell in self.shape.cells if cell.required}
            fresh = self.shape.type(**needed)
        return {cell.attr: getattr(fresh, cell.attr) for cell in missing}

    def _replace(
        self, state: Any, new: dict[str, Any], tables: dict[str, dict[Any, Any]]
    ) -> Callable[[], None]:
        if self.shape.single:
            before = copy.copy(state)
            _refill(state, new[""])
            return lambda: _refill(state, before)
        old = {attr: getattr(state, attr) for attr in new}
        held = [(getattr(state, attr), rows) for attr, rows in tables.items()]
        saved: list[tuple[AnyTable, dict[Any, Any], dict[Any, bool]]] = [
            (table, dict(table), dict(table.touched)) for table, _ in held
        ]
        for attr, value in new.items():
            setattr(state, attr, value)
        for table, rows in held:
            _exchange(table, rows)

        def undo() -> None:
            for attr, value in old.items():
                setattr(state, attr, value)
            for table, rows, touched in saved:
                _exchange(table, rows)
                table.touched = touched

        return undo

    # --- parts ---

    def _everything(self, state: Any, cells: list[bytes]) -> Changes:
        """The whole state, each table as one cell, because that replaces the rows that a follower may have."""
        tables = {field.name: self._table(state, field) for field in self.shape.tables}
        whole = dict(zip(self._names, cells, strict=True))
        whole |= {name: self._encode(dict(table)) for name, table in tables.items()}
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

    def _touched(self, table: AnyTable) -> list[Row]:
        """The rows that turn the `table` of the last boundary into the present one."""
        encode = self._encode
        touched = table.touched
        if True in touched.values():
            return self._touched_in_order(table)
        # No key was deleted, so all of them are present.
        try:
            return list(zip(map(encode, touched), map(encode, map(table.__getitem__, touched)), strict=True))
        except NOT_ENCODABLE:
            # Finds the row at fault.
            return self._touched_in_order(table)

    def _touched_in_order(self, table: AnyTable) -> list[Row]:
        encode = self._encode
        rows: list[Row] = []
        key: Any = None
        try:
            for key, deleted in table.touched.items():
                name = encode(key)
                if deleted:
                    rows.append((name, None))
                if key in table:
                    rows.append((name, encode(table[key])))
        except NOT_ENCODABLE as problem:
            raise self._unencodable_row(table, key, problem) from None
        return rows

    def _exchanged(self, table: AnyTable, held: AnyTable) -> list[Row]:
        """The rows that turn `held`, as of the last boundary, into `table`."""
        encode = self._encode
        rows: list[Row] = []
        key: Any = None
        try:
            rows += [(encode(key), None) for key in held.keys() | held.touched.keys()]
            rows += [(encode(key), encode(row)) for key, row in table.items()]
        except NOT_ENCODABLE as problem:
            raise self._unencodable_row(table, key, problem) from None
        return rows

    def _unencodable_row(self, table: AnyTable, key: Any, problem: Exception) -> StateError:
        where = f"table {table.name}: the row for {key!r} cannot be encoded"
        for part in (key, table.get(key)):
            if found := find_unencodable(part, "it", self._encode):
                path, value, why = found
                inside = "" if path == "it" else f"{path.removeprefix('it')} is "
                mend = mend_for_unencodable(value, why)
                return StateError(f"{where}: {inside}{described(value)}: {mend}", table.name)
        return StateError(f"{where} ({problem})", table.name)

    def _decoded(
        self, changes: Changes, source: int | None
    ) -> tuple[list[tuple[CellField, Any]], list[tuple[TableField, bool, list[tuple[Any, bool, Any]]]]]:
        """Every change as typed values: cells, and for each table whether it is replaced, and its rows as `(key,
        present, row)`.
        """
        values: list[tuple[CellField, Any]] = []
        tables: list[tuple[TableField, bool, list[tuple[Any, bool, Any]]]] = []
        for name, data in changes.cells.items():
            if cell := self._cells.get(name):
                values.append((cell, self._read(cell, data, source)))
            elif field := self._tables.get(name):
                tables.append(
                    (field, True, [(k, True, row) for k, row in self._all(field, data, source).items()])
                )
        for name, rows in changes.tables.items():
            field = self._tables.get(name)
            if field is None and (cell := self._cells.get(name)):
                if cell.parts is None:
                    raise StateUnreadable(
                        cell.attr, "the state has a Table here, expected a single value", self._mend(source)
                    )
                field = cell.parts
            if field is not None:
                tables.append((field, False, self._rows(field, rows, source)))
        return values, tables

    def _read(self, cell: CellField, data: bytes, source: int | None) -> Any:
        try:
            value = cell.decode(data)
        except UNDECODABLE as problem:
            raise StateUnreadable(cell.attr, _with_field(problem, cell.attr), self._mend(source)) from None
        return value if cell.held is None else cell.held.read(value, data)

    def _all(self, field: TableField, data: bytes, source: int | None) -> dict[Any, Any]:
        try:
            return field.decode_all(data)
        except UNDECODABLE as problem:
            raise StateUnreadable(field.attr, _with_field(problem, field.attr), self._mend(source)) from None

    def _rows(self, field: TableField, rows: list[Row], source: int | None) -> list[tuple[Any, bool, Any]]:
        decode_key, decode_row = field.decode_key, field.decode_row
        found: list[tuple[Any, bool, Any]] = []
        key: Any = "?"
        try:
            for name, row in rows:
                key = decode_key(name)
                found.append((key, row is not None, None if row is None else decode_row(row)))
        except UNDECODABLE as problem:
            raise StateUnreadable(
                field.attr,
                f"row {key!r}: {_with_field(problem, 'row')}",
                self._mend(source, table=field.name),
            ) from None
        return found

    def _mend(self, source: int | None, first: str = "", table: str = "") -> str:
        here = self.schema.version
        row = f', table="{table}"' if table else ""
        if source is not None and source != here:
            return f"{first}write @migration({source}, {here}{row})"
        return f"{first}raise the schema to {here + 1} and write @migration({here}, {here + 1}{row})"

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


def _refill(state: Any, value: Any) -> None:
    """Give a single-cell state the content of `value`; the bot keeps the same object."""
    if isinstance(state, list):
        cast("list[Any]", state)[:] = value
    else:
        state.clear()
        state.update(value)


def _exchange(table: AnyTable, rows: dict[Any, Any]) -> None:
    """Make a table hold these rows in this order, writing no row that stands right already."""
    for key in [key for key in table if key not in rows]:
        del table[key]
    there, wanted = list(table), list(rows)
    same = next(
        (at for at, (one, other) in enumerate(zip(there, wanted, strict=False)) if one != other), len(there)
    )
    for key in there[same:]:
        del table[key]
    for key, row in rows.items():
        if key not in table or table[key] != row:
            table[key] = row


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


def _with_field(problem: Exception, name: str) -> str:
    """msgspec's message, with the field's name where it writes `$`."""
    return str(problem).replace("`$", f"`{name}", 1)
