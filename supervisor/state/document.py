"""Reads an exported state, and stages a state for the leader: as a file in the home, which the leader takes it from."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any, cast

import msgspec

from ...protocol.frame import Schema
from ...protocol.state.path import no_part
from ...protocol.state.typed_json import ANYTHING, TypeSchema, from_json, inside
from ...protocol.state.values import StagedState, StateValues
from ...protocol.text import DuplicateKey, refuse_duplicates
from ...protocol.wire import NOT_ENCODABLE, UNDECODABLE, reason
from ..store.state_dir import Home
from ..system.errors import Refusal

__all__ = ["LARGEST_DOCUMENT", "parse_document", "read_document", "stage", "staged_from"]

LARGEST_DOCUMENT = 256 * 1024 * 1024
"""Bytes of JSON. A change of the state takes at most 32 MiB, in a form that is a few times shorter."""

_SUFFIX = ".state"
_KEPT_FOR = 3600.0
"""Seconds after which a staged state that was left behind is removed: its command was answered long ago."""


def read_document(path: str) -> dict[str, Any]:
    """The exported state in the file `path`. Raises `Refusal`."""
    file = Path(path)
    if not file.is_absolute():
        raise Refusal("bad-input", f"{path} must be absolute: the supervisor has another working directory")
    try:
        # A pipe or a device could keep the supervisor waiting, or reading, for ever.
        if file.exists() and not file.is_file():
            what = "a directory" if file.is_dir() else "not a regular file"
            raise Refusal("bad-input", f"{path} cannot be read: it is {what}")
        with file.open("rb") as opened:
            # `read` reserves as much memory as it is asked for. A file in /proc has no size.
            size = max(os.fstat(opened.fileno()).st_size, 2**20)
            data = opened.read(min(size, LARGEST_DOCUMENT) + 1)
    except OSError as problem:
        raise Refusal("bad-input", f"{path} cannot be read: {problem.strerror}") from None
    return parse_document(data, path)


def parse_document(data: bytes, name: str) -> dict[str, Any]:
    """The exported state in `data`, which `name` names in errors. Raises `Refusal`."""
    if len(data) > LARGEST_DOCUMENT:
        raise Refusal(
            "bad-input",
            f"{name} is larger than {LARGEST_DOCUMENT // 2**20} MiB, the most that can be imported: leave fields out",
        )
    try:
        found: object = msgspec.json.decode(data)
        refuse_duplicates(data)
    except DuplicateKey as problem:
        raise Refusal("bad-input", f"{name}: {problem}: give it once") from None
    except UNDECODABLE as problem:
        raise Refusal("bad-input", f"{name} is not JSON: {problem}") from None
    if not isinstance(found, dict):
        raise Refusal("bad-input", f"{name} is not an exported state: `neverblink state export` writes one")
    return cast("dict[str, Any]", found)


def staged_from(document: dict[str, Any], now: StateValues) -> StagedState:
    """The state in an exported document, for a bot whose state is `now`. Fields left out stay as they are.

    Raises `Refusal` for a document that is not an export, and for a field that the state does not have, and
    `BadStateValue` for a value that cannot be one.
    """
    state: object = document.get("state")
    if document.get("neverblink") != "state" or document.get("format") != 1 or not isinstance(state, dict):
        raise Refusal("bad-input", "this is not an exported state: `neverblink state export` writes one")
    said = cast("dict[str, Any]", state)
    fields: dict[str, Any] = {"": said} if now.single else said
    schema, types = _schema_of(document, now)
    known = types or now.types
    cells: dict[str, bytes] = {}
    tables: dict[str, list[tuple[bytes, bytes]]] = {}
    for name, value in fields.items():
        about = known if not name else inside(known, known, name)
        if name not in now.names and schema.version == now.schema.version:
            raise Refusal("bad-input", no_part((), name, now.names).message)
        packed = from_json(value, about, known, name)
        try:
            if about.get("x-table") or name in now.tables:
                rows = cast("dict[Any, Any]", packed if isinstance(packed, dict) else dict(packed))
                encode = msgspec.msgpack.encode
                tables[name] = [(encode(key), encode(row)) for key, row in rows.items()]
            else:
                cells[name] = msgspec.msgpack.encode(packed)
        except NOT_ENCODABLE as problem:
            raise Refusal("bad-input", f"field {name!r}: {problem}") from None
    return StagedState(schema, cells, tables, partial=schema.version == now.schema.version)


def stage(home: Home, staged: StagedState) -> Path:
    """Write a state where the leader finds it; the caller removes it when the leader has answered."""
    _sweep(home.run)
    path = home.run / f"{secrets.token_hex(8)}{_SUFFIX}"
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(file, "wb") as out:
            out.write(msgspec.msgpack.encode(staged))
    except OSError as problem:
        path.unlink(missing_ok=True)
        raise Refusal(
            "failed", f"{path} cannot be written ({problem.strerror}): nothing was changed"
        ) from None
    return path


class _TypeForm(msgspec.Struct, rename={"refers": "$ref", "defs": "$defs"}):
    """The words of a type's schema that are followed here, and what they lead to."""

    refers: str = ""
    defs: dict[str, _TypeForm] = {}
    properties: dict[str, _TypeForm] = {}
    propertyNames: _TypeForm | bool = True
    additionalProperties: _TypeForm | bool = True
    items: _TypeForm | bool = True
    prefixItems: list[_TypeForm] = []
    anyOf: list[_TypeForm] = []
    enum: list[Any] = []


def _schema_of(document: dict[str, Any], now: StateValues) -> tuple[Schema, TypeSchema]:
    try:
        point = cast("dict[str, Any]", document.get("point", {}))
        schema = msgspec.convert(point["schema"], Schema) if "schema" in point else now.schema
        types = msgspec.convert(document.get("types", {}), dict[str, Any])
        msgspec.convert(types, _TypeForm)
    except (*UNDECODABLE, KeyError) as problem:
        raise Refusal("bad-input", f"the document's schema cannot be read: {reason(problem)}") from None
    return schema, types or ANYTHING


def _sweep(directory: Path) -> None:
    for path in directory.glob(f"*{_SUFFIX}"):
        try:
            if time.time() - path.stat().st_mtime > _KEPT_FOR:
                path.unlink()
        except OSError:
            continue
