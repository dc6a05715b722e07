"""The page about `status --json` names every key that is in it, with its type."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from neverblink.protocol.status import BotStatus

from ...protocol.wire_examples import words_for

PAGE = Path(__file__).resolve().parents[3] / "docs" / "status.md"


def structs(kind: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """`kind` and every struct within it, by name."""
    found = {kind.__name__: kind}
    waiting: list[Any] = [inspect.type_info(kind)]
    while waiting:
        info = waiting.pop()
        match info:
            case inspect.StructType():
                found[info.cls.__name__] = info.cls
                waiting += [field.type for field in info.fields]
            case inspect.UnionType():
                waiting += info.types
            case inspect.VarTupleType() | inspect.ListType():
                waiting.append(info.item_type)
            case _:
                pass
    return found


KINDS = structs(BotStatus)


def documented(name: str) -> list[tuple[str, str]]:
    """The keys and types of a table on the page."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found, f"docs/status.md has no section {name}: add it, with a row for each key"
    rows = [line.split("|")[1:3] for line in found[1].splitlines() if line.startswith("| `")]
    return [(key.strip().strip("`"), kind.strip()) for key, kind in rows]


@pytest.mark.parametrize("name", KINDS)
def test_every_key_of_the_status_is_explained(name: str) -> None:
    info: Any = inspect.type_info(KINDS[name])
    keys = [(field.encode_name, words_for(field.type)) for field in info.fields]
    if info.tag is not None:
        keys.insert(0, (info.tag_field, f"`{info.tag}`"))
    assert documented(name) == keys


def test_every_section_describes_an_existing_structure() -> None:
    assert set(re.findall(r"^## (\w+)$", PAGE.read_text("utf-8"), re.MULTILINE)) == set(KINDS)
