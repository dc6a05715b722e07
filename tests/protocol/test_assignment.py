from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given

from neverblink.protocol.assignment import (
    VARIABLE,
    Assignment,
    AssignmentError,
    decode_assignment,
    encode_assignment,
)

from .codecs import damaged, garbage, messages

assignments = messages(Assignment)


@given(assignments)
def test_an_assignment_comes_back(assignment: Assignment) -> None:
    assert decode_assignment(encode_assignment(assignment)) == assignment


@given(garbage | damaged(assignments.map(encode_assignment)))
def test_garbage_never_raises_anything_but_assignment_error(data: bytes) -> None:
    with suppress(AssignmentError):
        assert isinstance(decode_assignment(data), Assignment)


@pytest.mark.parametrize("data", [b"", b"null", b'{"bot": "\xff"}', b'{"x": ' + b"[" * 100_000])
def test_harmful_values_are_refused(data: bytes) -> None:
    with pytest.raises(AssignmentError, match=rf"^{VARIABLE} does not lead .*unset it to run standalone$"):
        decode_assignment(data)


def test_an_older_supervisor_may_send_fewer_fields_and_a_newer_one_more() -> None:
    fields: dict[str, Any] = {
        "bot": "b",
        "worker": "w",
        "release": "r",
        "run": "/run",
        "lease": "/lease",
        "journal": "/journal",
    }
    assert decode_assignment(json.dumps(fields).encode()) == Assignment(**fields)
    assert decode_assignment(json.dumps({**fields, "colour": "green"}).encode()) == Assignment(**fields)
    del fields["lease"]
    with pytest.raises(AssignmentError, match="missing required field `lease`"):
        decode_assignment(json.dumps(fields).encode())
