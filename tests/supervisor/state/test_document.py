"""An exported state that an operator gives back: whatever is in the file, it is read or refused with its name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from neverblink.protocol.frame import Schema
from neverblink.protocol.state.values import StateValues
from neverblink.supervisor.state import document
from neverblink.supervisor.state.document import read_document, staged_from
from neverblink.supervisor.system.errors import Refusal

NOW = StateValues(Schema(1, "a"), {"properties": {"count": {"type": "integer"}}}, {"count": b"\x01"}, [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON"),
        (b"hello", "is not JSON"),
        (b"\xff\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not an exported state"),
        (b'{"state": {}, "state": {}}', "give it once"),
    ],
)
def test_a_file_that_is_no_export_is_refused_by_its_name(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "state.json"
    file.write_bytes(content)
    with pytest.raises(Refusal) as raised:
        read_document(str(file))
    assert str(file) in raised.value.message
    assert words in raised.value.message


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "nothing"):
        with pytest.raises(Refusal, match="cannot be read"):
            read_document(str(path))


def test_a_file_that_is_too_large_is_refused_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "LARGEST_DOCUMENT", 1 << 20)
    (tmp_path / "large").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(Refusal, match="larger than 1 MiB"):
        read_document(str(tmp_path / "large"))


@pytest.mark.parametrize(
    "types",
    [
        [],
        {"properties": 5},
        {"$defs": 3},
        {"properties": {"count": 5}},
        {"properties": {"count": {"anyOf": 3}}},
        {"properties": {"count": {"enum": 1}}},
        {"$defs": {"A": {"prefixItems": {"a": 1}}}},
    ],
)
def test_types_that_are_no_schema_are_refused(types: Any) -> None:
    with pytest.raises(Refusal, match="schema cannot be read"):
        staged_from({"neverblink": "state", "format": 1, "types": types, "state": {"count": 2}}, NOW)
