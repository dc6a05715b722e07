"""What may be sent to a bot, and in which words the rest is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol.commands import Answer, BadRequest, decode_command, encode_answer
from neverblink.protocol.link import Failed, Run, supervisor_codec, worker_codec
from neverblink.protocol.text import (
    DEEPEST,
    DuplicateKey,
    problem_of,
    refuse_duplicates,
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"size": 2**64}, "size is an integer of more than 64 bits"),
        ({"size": -(2**63) - 1}, "size is an integer of more than 64 bits"),
        ({"a": [{"b": 10**300}]}, "a[0].b is an integer"),
        ({"pct": float("nan")}, "pct is nan"),
        ({"pct": float("-inf")}, "pct is -inf"),
        ({"note": "caf\udce9"}, 'note ("caf\\xe9") is not UTF-8'),
        ({"a": {"caf\udce9": 1}}, 'a key of a ("caf\\xe9") is not UTF-8'),
        ({(1, 2): 1}, "a key is tuple: expected text"),
        ({"a": {1.5: 1}}, "a key of a is float: expected text"),
        ({"a": {2**64: 1}}, "a key of a is an integer of more than 64 bits"),
        ({"deep": nested(DEEPEST)}, "nested too deeply"),
        ({"deep": nested(100_000)}, "nested too deeply"),
        ({"what": msgspec.msgpack.Ext(5, b"")}, "what is Ext"),
    ],
)
def test_a_value_that_no_worker_could_decode_is_named_with_its_path(value: Any, says: str) -> None:
    assert says in problem_of(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(st.characters()) | st.binary() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner),
    )
)
def test_an_accepted_value_survives_encoding(value: Any) -> None:
    if problem_of(value):
        return
    run = Run("key", "name", {"value": value})
    assert supervisor_codec.decode(supervisor_codec.encode(run)) == run
    msgspec.json.encode(msgspec.to_builtins(value, str_keys=True))


def test_ordinary_values_are_accepted() -> None:
    value = {"a": [1, 2.5, "text", None, True, b"x", datetime.now(UTC)], "b": {"c": 2**64 - 1, "d": -(2**63)}}
    assert problem_of(value) == ""
    assert problem_of(nested(DEEPEST - 1)) == ""


def test_a_duplicate_key_is_refused() -> None:
    with pytest.raises(DuplicateKey, match='"max" is there twice'):
        refuse_duplicates(b'{"set": {"max": 1, "max": 2}}')
    refuse_duplicates(b'{"a": [{"max": 1}, {"max": 2}]}')
    with pytest.raises(BadRequest, match="twice") as refused:
        decode_command(b'{"id": "7", "op": "settings", "set": {"max": 1, "max": 2}}')
    assert refused.value.id == "7"


def test_a_message_with_text_that_is_not_utf_8_is_sent_with_escapes() -> None:
    failed = Failed("tick", "caf\udce9", "trace \ud800")
    assert worker_codec.decode(worker_codec.encode(failed)) == Failed("tick", "caf\\xe9", "trace \\ud800")


@pytest.mark.parametrize("packed", [True, False])
def test_every_answer_has_the_encoding_of_its_request(packed: bool) -> None:
    decode = msgspec.msgpack.decode if packed else msgspec.json.decode
    answer = decode(encode_answer(Answer("1", "ok", result={"text": "caf\udce9"}), packed=packed))
    assert answer["result"] == {"text": "caf\\xe9"}
    answer = decode(encode_answer(Answer("1", "ok", result={(1, object()): 1}), packed=packed))
    assert answer["error"]["code"] == "failed"
