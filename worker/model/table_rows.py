"""The rows of a Table as bytes: those that turn it, as it was at the last boundary, into the present one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...protocol.wire import NOT_ENCODABLE
from .changes_reader import Row
from .encode_errors import find_unencodable
from .mends import described, mend_for_unencodable
from .table import StateError, Table

__all__ = ["RowEncoder"]

AnyTable = Table[Any, Any]


class RowEncoder:
    """Encodes keys and rows by `encode`. Raises `StateError` for one that cannot be encoded."""

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        self._encode = encode

    def touched(self, table: AnyTable) -> list[Row]:
        """The rows that turn the `table` of the last boundary into the present one."""
        encode = self._encode
        touched = table.touched
        if True in touched.values():
            return self._in_order(table)
        # No key was deleted, so all of them are present.
        try:
            return list(zip(map(encode, touched), map(encode, map(table.__getitem__, touched)), strict=True))
        except NOT_ENCODABLE:
            # Finds the row at fault.
            return self._in_order(table)

    def _in_order(self, table: AnyTable) -> list[Row]:
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
            raise self._unencodable(table, key, problem) from None
        return rows

    def exchanged(self, table: AnyTable, held: AnyTable) -> list[Row]:
        """The rows that turn `held`, as of the last boundary, into `table`."""
        encode = self._encode
        rows: list[Row] = []
        key: Any = None
        try:
            rows += [(encode(key), None) for key in held.keys() | held.touched.keys()]
            for key, row in table.items():
                rows.append((encode(key), encode(row)))
        except NOT_ENCODABLE as problem:
            raise self._unencodable(table, key, problem) from None
        return rows

    def _unencodable(self, table: AnyTable, key: Any, problem: Exception) -> StateError:
        where = f"table {table.name}: the row for {key!r} cannot be encoded"
        for part in (key, table.get(key)):
            if found := find_unencodable(part, "it", self._encode):
                path, value, why = found
                inside = "" if path == "it" else f"{path.removeprefix('it')} is "
                mend = mend_for_unencodable(value, why)
                return StateError(f"{where}: {inside}{described(value)}: {mend}", table.name)
        return StateError(f"{where} ({problem})", table.name)
