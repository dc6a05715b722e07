"""The supervisor's events: two parts on a PUB socket, the topic and one JSON object."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neverblink.protocol.errors import NeverblinkError
from neverblink.protocol.events import (
    Event,
    StepDone,
    decode_event,
    encode_event,
    topic_of,
)

from ..hypothesis_profile import examples
from .codecs import damaged, garbage, kinds, messages

each = pytest.mark.parametrize("kind", kinds(Event), ids=lambda kind: kind.__name__)


@each
@settings(max_examples=examples(15))
@given(data=st.data())
def test_every_event_comes_back_under_its_topic(kind: Any, data: st.DataObject) -> None:
    event = data.draw(messages(kind))
    body = encode_event(event)
    assert decode_event(body) == event
    raw = json.loads(body)
    assert raw["type"].encode() == topic_of(event)
    assert {"type", "bot", "at"} <= raw.keys()


@settings(max_examples=examples(60))
@given(garbage | damaged(messages(Event).map(encode_event)))
def test_garbage_never_raises_anything_but_a_neverblink_error(data: bytes) -> None:
    with suppress(NeverblinkError):
        assert isinstance(decode_event(data), get_args(Event))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "."),
        (b'{"type": "party", "bot": "b", "at": 1}', "Invalid value 'party'"),
        (b'{"type": "step", "bot": "b"}', "missing required field"),
        (b'{"type": "step", "bot": "\xff"}', "."),
        (b'{"type": "step", "facts": {"a": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_an_invalid_event_is_refused_with_its_reason(data: bytes, why: str) -> None:
    with pytest.raises(NeverblinkError, match=f"not an event: .*{why}"):
        decode_event(data)


def test_an_event_of_a_newer_supervisor_may_have_more_fields() -> None:
    event = StepDone(bot="b", at=1, deployment=1, step="ready", text="ready")
    raw = json.loads(encode_event(event)) | {"colour": "green"}
    assert decode_event(json.dumps(raw).encode()) == event


def test_no_topic_is_a_prefix_of_another() -> None:
    """A subscription is a prefix: who asks for one type must get that type alone."""
    topics = sorted(str(kind.__struct_config__.tag) for kind in kinds(Event))
    assert len(topics) == len(set(topics))
    clashes = [(a, b) for a in topics for b in topics if a != b and b.startswith(a)]
    assert clashes == []
