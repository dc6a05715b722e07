"""The operator's requests and answers, in JSON and in msgpack."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neverblink.protocol import commands
from neverblink.protocol.commands import (
    MAX_REQUEST,
    Answer,
    BadRequest,
    Command,
    Fault,
    Send,
    Status,
    decode_answer,
    decode_command,
    encode_answer,
    encode_command,
)
from neverblink.protocol.wire import API

from ..hypothesis_profile import examples
from .codecs import anything, damaged, garbage, kinds, messages, tag_of

commands_ = messages(Command)
packed = msgspec.msgpack.encode
each = pytest.mark.parametrize("kind", kinds(Command), ids=lambda kind: kind.__name__)


@each
@settings(max_examples=examples(15))
@given(data=st.data())
def test_every_command_comes_back_in_either_language(kind: Any, data: st.DataObject) -> None:
    command = data.draw(messages(kind))
    assert decode_command(encode_command(command)) == command
    assert decode_command(b" \r\n\t" + encode_command(command)) == command
    assert decode_command(packed(command)) == command
    assert decode_command(memoryview(packed(command))) == command


@settings(max_examples=examples(60))
@given(garbage | damaged(commands_.map(encode_command)) | damaged(commands_.map(packed)))
def test_garbage_never_raises_anything_but_bad_request(data: bytes) -> None:
    with suppress(BadRequest):
        assert isinstance(decode_command(data), get_args(Command))


@settings(max_examples=examples(40))
@given(garbage | st.text(max_size=40).map(str.encode) | damaged(messages(Answer).map(encode_answer)))
def test_garbage_is_refused_as_an_answer(data: bytes) -> None:
    with suppress(BadRequest):
        assert isinstance(decode_answer(data), Answer)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "^not a request: ."),
        (b"{", "^not a request: ."),
        (b"[]", "not a request"),
        (b'{"op": "reload"}', "Invalid value 'reload'"),
        (b'{"id": "1"}', "missing required field `op`"),
        (b'{"op": "status", "verbose": true}', r"unknown field `verbose` \(expected id, who, why\)"),
        (b'{"op": "rollback", "relase": "x"}', r'unknown field `relase` \(did you mean "release"\?\)'),
        (packed({"op": "history", "Limit": 7}), r'unknown field `Limit` \(did you mean "limit"\?\)'),
        (b'{"op": "send"}', "missing required field `name`"),
        (b'{"op": "history", "limit": "all"}', r"expected a whole number, got text - at `\$.limit`"),
        (b'{"op": "status"} {"op": "down"}', "^not a request: ."),
        (b'{"op": "send", "name": "\xff"}', "^not a request: ."),
        (b'{"op": "send", "name": "x", "args": {"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"op": "send", "name": "x", "args": {"n": ' + b"9" * 5000 + b"}}", "^not a request: ."),
        (packed({"op": "send", "name": "x"})[:-1], "^not a request: ."),
        (b"\x83\xa2op\xa4send\xa4name\xa1x\xa4args\x81\xa1a" + b"\x91" * 100_000, "nested too deeply"),
        (b"\x83\xa2op\xa4send\xa4name\xa1x\xa4args\x81\xa1a\x81\x80\x01", "^not a request: ."),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else None,
)
def test_an_invalid_request_is_refused_with_its_reason(data: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        decode_command(data)


@pytest.mark.parametrize("encode", [msgspec.json.encode, packed], ids=["json", "msgpack"])
def test_a_refused_request_keeps_its_id(encode: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        decode_command(encode({"id": "17", "op": "reload"}))
    assert caught.value.id == "17"
    with pytest.raises(BadRequest) as caught:
        decode_command(encode({"id": 17, "op": "status"}))
    assert caught.value.id == ""


def test_the_largest_request_is_read_and_one_byte_more_is_refused_undecoded() -> None:
    least = len(encode_command(Send(name="x", why="y")))
    fits = Send(name="x", why="y" * (MAX_REQUEST - least + 1))
    assert decode_command(encode_command(fits)) == fits
    with pytest.raises(BadRequest, match=f"{MAX_REQUEST + 1} bytes; at most {MAX_REQUEST} are accepted"):
        decode_command(encode_command(fits) + b" ")


def test_a_request_is_as_short_as_documented() -> None:
    assert decode_command(b'{"id": "1", "op": "status"}') == Status(id="1")


@each
def test_a_field_with_its_default_is_not_sent(kind: Any) -> None:
    """An earlier supervisor refuses a field that it does not know, so a newer one may be sent only where it is used."""
    needed = {field.encode_name for field in msgspec.structs.fields(kind) if field.required}
    least = msgspec.convert({"op": tag_of(kind), **dict.fromkeys(needed, "")}, kind, strict=False)
    assert set(msgspec.json.decode(encode_command(least))) == {"op", *needed}


def test_names_of_commands_are_unique() -> None:
    names = [tag_of(kind) for kind in kinds(Command)]
    assert len(names) == len(set(names))
    assert {kind.__name__ for kind in kinds(Command)} <= set(commands.__all__)


@given(st.text(max_size=8), anything)
def test_an_answer_comes_back(id: str, result: Any) -> None:
    answer = Answer(id, "ok", result=result)
    assert decode_answer(encode_answer(answer)) == answer
    assert answer.api == API


def test_a_fault_comes_back_with_its_facts() -> None:
    answer = Answer("2", "error", error=Fault("locked", "locked by anna: release freeze", {"who": "anna"}))
    assert decode_answer(encode_answer(answer)) == answer
    assert b"result" not in encode_answer(answer)


@pytest.mark.parametrize(
    "value", [{(1, 2): 3}, {None: 1}, msgspec.msgpack.Ext(5, b"x"), [{"deep": msgspec.msgpack.Ext(5, b"")}]]
)
def test_an_answer_that_json_cannot_encode_is_answered_with_that_error(value: Any) -> None:
    """A value comes from the bot by msgpack, which can say more; its asker must not wait for ever."""
    decoded = msgspec.msgpack.decode(packed(value))
    answer = decode_answer(encode_answer(Answer("3", "ok", result={"value": decoded})))
    assert (answer.id, answer.status) == ("3", "error")
    assert answer.error is not None
    assert answer.error.code == "failed"
    assert "cannot be encoded as JSON" in answer.error.message
