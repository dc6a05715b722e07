"""The page about the two files names every key that is in `status.json`, with its type."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from neverblink.protocol.commands import Fault
from neverblink.protocol.control import LONGEST_ID, MOST_COMMANDS
from neverblink.supervisor.control_files.json_shapes import AnswerSeen, ControlSeen, ProblemSeen, StatusFile
from neverblink.supervisor.store.history_db import MOST_IDS

from ...protocol.wire_examples import words_for

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "files.md").read_text("utf-8")
KINDS: list[type[msgspec.Struct]] = [StatusFile, ControlSeen, ProblemSeen, AnswerSeen, Fault]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_key_is_explained(kind: type[msgspec.Struct]) -> None:
    found = re.search(rf"^### {kind.__name__}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/files.md has no section {kind.__name__}"
    rows = [line.split("|")[1:3] for line in found[1].splitlines() if line.startswith("| `")]
    info: Any = inspect.type_info(kind)
    assert [(key.strip().strip("`"), meaning.strip()) for key, meaning in rows] == [
        (field.encode_name, words_for(field.type)) for field in info.fields
    ]


def test_the_page_states_the_bounds() -> None:
    assert f"up to {MOST_COMMANDS}" in PAGE
    assert f"up to {LONGEST_ID} characters" in PAGE
    assert f"the last {MOST_IDS:,} are remembered" in PAGE
