"""Migrations: how a state written by one release is read by another.

msgspec's own rules cover most changes: a new field with a default, a field dropped, a type made wider. For the
rest the author raises the worker's `schema` and writes functions on raw data (dicts,
lists, numbers, text, as msgpack has them; no classes of either release):

    @migration(1, 2)
    def sizes_became_lots(root: dict[str, Any]) -> dict[str, Any]:
        root["lots"] = {market: round(size * 100) for market, size in root.pop("sizes").items()}
        return root

    @migration(1, 2, table="candles")
    def candle_in_cents(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"close": round(row["close"] * 100)}

A root function gets every field but the tables, a row function one row. They must be pure, because they are
called again and again: a follower migrates each frame as it comes, and the journal is replayed through them.
`@migration(2, 1)` is a way back, for a rollback with the newest state.

A field that a function leaves out without having read it by its name would be lost silently. A deployment refuses that,
unless the migration says so: `@migration(1, 2, drops=["realised"])`.

Steps are chained: from 1 to 3 goes 1 -> 2 -> 3, or straight where `@migration(1, 3)` exists. The shortest way
is taken; two equally short ways are refused, because they may not agree.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from ...protocol.errors import NeverblinkError
from ...protocol.frame import Changes, Schema
from ...protocol.wire import UNDECODABLE, reason

__all__ = [
    "MigrationError",
    "MigrationFailed",
    "MigrationMissing",
    "MigrationStep",
    "Migrations",
    "OmittedField",
    "Translator",
    "migration",
]

F = TypeVar("F")
Row = tuple[bytes, bytes | None]

_TAG = "__neverblink_migrations__"


class MigrationError(NeverblinkError):
    """Migrations that contradict each other, or cannot be applied."""


class MigrationMissing(MigrationError):
    """No way leads from schema version `source` to `target`."""

    def __init__(self, source: int, target: int, known: Iterable[tuple[int, int]]) -> None:
        ways = ", ".join(f"{a} -> {b}" for a, b in sorted(known)) or "none"
        super().__init__(
            f"no migration leads from schema {source} to {target} (there are: {ways}): "
            f"write @migration({source}, {target})"
        )
        self.source = source
        self.target = target


class MigrationFailed(MigrationError):
    """A migration raised, or returned an unusable value; `name` is the function's, `key` the row's."""

    def __init__(self, step: MigrationStep, problem: str, key: Any = None) -> None:
        row = f" on the row {key!r} of table {step.table}" if step.table is not None else ""
        super().__init__(f"migration {step.name} ({step.source} -> {step.target}){row}: {problem}")
        self.name = step.name
        self.key = key


class MigrationStep(msgspec.Struct, frozen=True):
    """One migration: from version `source` to `target`, of the root (`table` None) or of a table's rows."""

    source: int
    target: int
    table: str | None
    function: Callable[[Any], Any]
    name: str
    drops: tuple[str, ...] = ()
    """The fields of the root or row, or `field.part`, that it says are lost."""


class OmittedField(NamedTuple):
    """A field that the migration `step` leaves out without having read it; of `table` in row `key`, or of the root."""

    name: str
    value: Any
    step: str
    table: str = ""
    key: Any = None


def migration(
    source: int, target: int, table: str | None = None, *, drops: Iterable[str] = ()
) -> Callable[[F], F]:
    """Mark a function as the migration from schema version `source` to `target`, of the root or of one
    table's rows.

    The function takes the raw root (a dict) or row and returns the new one; it may change its argument. It is
    found in the module of the worker or of the state, or as a static method of the worker's class. `drops` names the
    fields whose values are meant to be lost; without it a deployment that would lose them is refused. Raises
    `MigrationError`.
    """
    if isinstance(drops, str):
        raise MigrationError(f'drops is {drops!r}: expected a list of names, such as ["{drops}"]')
    said = tuple(drops)
    if source == target:
        raise MigrationError(f"@migration({source}, {target}) leads nowhere: the two versions must differ")

    def mark(function: F) -> F:
        plain: Any = _plain(function)
        step = MigrationStep(source, target, table, plain, plain.__qualname__, said)
        setattr(plain, _TAG, (*getattr(plain, _TAG, ()), step))
        return function

    return mark


class Migrations:
    """The migrations of one bot. Raises `MigrationError` when two functions are the same step."""

    def __init__(self, steps: Iterable[MigrationStep] = ()) -> None:
        self._steps: dict[tuple[int, int], dict[str | None, MigrationStep]] = {}
        for step in steps:
            others = self._steps.setdefault((step.source, step.target), {})
            other = others.get(step.table)
            if other is not None and other.function is not step.function:
                what = "the root" if step.table is None else f"table {step.table}"
                raise MigrationError(
                    f"{other.name} and {step.name} both migrate {what} from schema {step.source} to "
                    f"{step.target}: keep one"
                )
            others[step.table] = step

    @classmethod
    def of(cls, *homes: type | ModuleType) -> Migrations:
        """Collect the migrations of modules, and of classes: their own, their bases', their modules'."""
        steps: list[MigrationStep] = []
        for home in homes:
            if isinstance(home, ModuleType):
                steps += _tagged(vars(home).values())
                continue
            for base in home.__mro__:
                steps += _tagged(vars(base).values())
            module = sys.modules.get(home.__module__)
            steps += _tagged(vars(module).values() if module else ())
        return cls(steps)

    def path(self, source: int, target: int) -> tuple[int, ...]:
        """The versions passed through from `source` to `target`, both included.

        Raises `MigrationMissing` when there is no way, `MigrationError` when two are equally short.
        """
        ways: dict[int, list[tuple[int, ...]]] = {source: [(source,)]}
        edge = ways
        while edge and target not in ways:
            beyond: dict[int, list[tuple[int, ...]]] = {}
            for here, there in sorted(self._steps):
                if here in edge and there not in ways:
                    beyond.setdefault(there, []).extend((*way, there) for way in edge[here][:2])
            ways |= beyond
            edge = beyond
        found = ways.get(target, [])
        if not found:
            raise MigrationMissing(source, target, self._steps)
        if len(found) > 1:
            one, two = (" -> ".join(map(str, way)) for way in found[:2])
            raise MigrationError(
                f"two ways lead from schema {source} to {target}, {one} and {two}: "
                f"write @migration({source}, {target})"
            )
        return found[0]

    def roots(self, source: int, target: int) -> tuple[MigrationStep, ...]:
        """The steps that turn a root of version `source` into one of `target`, in order."""
        return self._along(source, target, None)

    def tables(self, source: int, target: int) -> dict[str, tuple[MigrationStep, ...]]:
        """For each table whose rows have migrations on the way, its steps in order."""
        path = self.path(source, target)
        names = {name for hop in pairwise(path) for name in self._steps[hop] if name is not None}
        return {name: self._along(source, target, name) for name in sorted(names)}

    def _along(self, source: int, target: int, table: str | None) -> tuple[MigrationStep, ...]:
        path = self.path(source, target)
        hops = (self._steps[hop] for hop in pairwise(path))
        return tuple(hop[table] for hop in hops if table in hop)


class Translator:
    """Translates states and frames from one schema to another.

    A row migration needs only the row. A root migration needs the whole root, but a frame has only the cells that
    changed: so this keeps the raw root up to date, migrates all of it, and returns what differs from before. Call
    `load` with the root first, then pass rows and frames as they come.

    `single` says whether the reading side's state is one single cell; by default it is if the other side's is. Between
    equal versions nothing is translated. The constructor raises `MigrationMissing` or `MigrationError`, the methods
    `MigrationFailed`.
    """

    def __init__(
        self, migrations: Migrations, from_schema: Schema, to_schema: Schema, *, single: bool | None = None
    ) -> None:
        self.source = from_schema
        self.target = to_schema
        versions = from_schema.version, to_schema.version
        self._roots = migrations.roots(*versions)
        self._tables = migrations.tables(*versions)
        self._single = single
        self._raw: dict[str, bytes] = {}
        self._out: dict[str, bytes] = {}
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder = msgspec.msgpack.Decoder()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to translate."""
        return not self._roots and not self._tables

    def load(self, cells: dict[str, bytes]) -> dict[str, bytes]:
        """Begin with a whole root, and return it in the new schema."""
        if not self._roots:
            return cells
        raw = dict(cells)
        out = self._migrated(raw)
        self._raw, self._out = raw, out
        return dict(out)

    def translate(self, changes: Changes) -> Changes:
        """Return the changes of a frame in the new schema. An error leaves the translator as it was."""
        if not changes or self.idle:
            return changes
        tables = {name: self._rows(name, rows) for name, rows in changes.tables.items()}
        # A table can also come as one cell, which replaces all of its rows.
        cells = {name: self._map(name, data) for name, data in changes.cells.items()}
        if not self._roots or not cells:
            return Changes(cells, tables)
        raw = {**self._raw, **cells}
        out = self._migrated(raw)
        gone = self._out.keys() - out.keys()
        if gone:
            raise MigrationFailed(
                self._roots[-1],
                f"returned no {', '.join(map(repr, sorted(gone)))} this time, but did before: "
                "always return the same fields",
            )
        changed = {name: data for name, data in out.items() if self._out.get(name) != data}
        self._raw, self._out = raw, out
        return Changes(changed, tables)

    @property
    def drops(self) -> frozenset[str]:
        """What the migrations on the way say they drop: a field of the root, `table.field` of a row."""
        rows = {
            f"{table}.{name}"
            for table, steps in self._tables.items()
            for step in steps
            for name in step.drops
        }
        return frozenset(name for step in self._roots for name in step.drops) | rows

    def left_out(self) -> list[OmittedField]:
        """What the root migrations leave out of the present root."""
        value: Any = {name: self._decode(data) for name, data in self._raw.items()}
        return _left_out(self._roots, value) if "" not in value else []

    def left_out_of_rows(self, table: str, rows: Iterable[Row]) -> list[OmittedField]:
        """What the row migrations leave out of these rows, before they are translated."""
        steps = self._tables.get(table, ())
        found: list[OmittedField] = []
        for key, row in rows if steps else ():
            if row is not None:
                some = _left_out(steps, self._decode(row))
                found += [one._replace(table=table, key=self._decode(key)) for one in some]
        return found

    def rows(self, table: str, rows: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return some rows of a copy in the new schema."""
        steps = self._tables.get(table)
        return [(key, self._row(steps, key, row)) for key, row in rows] if steps else rows

    def tables(self, cells: dict[str, bytes]) -> dict[str, bytes]:
        """Return whole tables, each as one cell, in the new schema."""
        return {name: self._map(name, data) for name, data in cells.items()}

    def _rows(self, table: str, rows: list[Row]) -> list[Row]:
        steps = self._tables.get(table)
        if not steps:
            return rows
        return [(key, None if row is None else self._row(steps, key, row)) for key, row in rows]

    def _map(self, table: str, data: bytes) -> bytes:
        steps = self._tables.get(table)
        if not steps:
            return data
        rows = cast("dict[Any, Any]", self._decode(data))
        encode = self._encode
        return encode(
            {key: msgspec.Raw(self._row(steps, encode(key), encode(row))) for key, row in rows.items()}
        )

    def _row(self, steps: tuple[MigrationStep, ...], key: bytes, row: bytes) -> bytes:
        value = self._decode(row)
        for step in steps:
            value = _called(step, value, lambda: self._decode(key))
            if value is None:
                raise MigrationFailed(step, "returned None: return the row", self._decode(key))
        return self._encoded(steps[-1], value, lambda: self._decode(key))

    def _migrated(self, raw: dict[str, bytes]) -> dict[str, bytes]:
        cells = {name: self._decode(data) for name, data in raw.items()}
        whole = cells.keys() == {""}
        single = whole if self._single is None else self._single
        root: Any = cells[""] if whole else cells
        for step in self._roots:
            root = _called(step, root)
            if root is None or not (isinstance(root, dict) or single):
                raise MigrationFailed(step, f"returned {type(root).__name__}: return the root, a dict")
        last = self._roots[-1]
        if single:
            return {"": self._encoded(last, root)}
        fields = cast("dict[object, Any]", root)
        return {self._name(last, name): self._encoded(last, value) for name, value in fields.items()}

    def _decode(self, data: bytes) -> Any:
        try:
            return self._decoder.decode(data)
        except UNDECODABLE as problem:
            raise MigrationError(
                f"the state in schema {self.source.version} cannot be read, so it cannot be migrated: {reason(problem)}"
            ) from None

    def _name(self, step: MigrationStep, name: object) -> str:
        if not isinstance(name, str):
            raise MigrationFailed(step, f"returned the field name {name!r}: names are text")
        return name

    def _encoded(self, step: MigrationStep, value: Any, key: Callable[[], Any] | None = None) -> bytes:
        try:
            return self._encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as problem:
            raise MigrationFailed(
                step, f"returned a value that cannot be encoded ({problem}): return plain data", key and key()
            ) from None


class _Watched(dict[Any, Any]):
    """A dict that notes which fields are read by their names. To copy it whole is not to read them."""

    def __init__(self, fields: dict[Any, Any]) -> None:
        super().__init__(fields)
        self.read: set[Any] = set()

    def __getitem__(self, name: Any) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def __delitem__(self, name: Any) -> None:
        self.read.add(name)
        super().__delitem__(name)

    def get(self, name: Any, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def pop(self, name: Any, *default: Any) -> Any:
        self.read.add(name)
        return super().pop(name, *default)


def _left_out(steps: Iterable[MigrationStep], value: Any) -> list[OmittedField]:
    """What the steps leave out of a raw root or row without having read it."""
    found: list[OmittedField] = []
    for step in steps:
        if not isinstance(value, dict):
            value = _called(step, value)
            continue
        fields = cast("dict[Any, Any]", value)
        before, watched = dict(fields), _Watched(fields)
        value = _called(step, watched)
        if isinstance(value, dict):
            kept = value = dict(cast("dict[Any, Any]", value))
            gone = [name for name in before if name not in kept and name not in watched.read]
            found += [OmittedField(name, before[name], step.name) for name in gone]
    return found


def _plain(value: object) -> object:
    """The function within a static method; any other value unchanged."""
    return cast(Any, value).__func__ if isinstance(value, staticmethod) else value


def _tagged(values: Iterable[object]) -> Iterator[MigrationStep]:
    for value in values:
        plain = _plain(value)
        if inspect.isfunction(plain):
            yield from getattr(plain, _TAG, ())


def _called(step: MigrationStep, value: Any, key: Callable[[], Any] | None = None) -> Any:
    try:
        return step.function(value)
    except Exception as problem:
        raise MigrationFailed(step, f"raised {type(problem).__name__}: {problem}", key and key()) from problem
