"""What a control.json says: commands with ids, and everything else named."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neverblink.protocol.commands import Pause, Send
from neverblink.protocol.control import LONGEST_ID, MOST_COMMANDS, ControlError, parse

from ..hypothesis_profile import examples
from .codecs import damaged, garbage

PAUSE = b'{"id": "1", "op": "pause", "why": "thin"}'


def test_a_file_holds_one_command_or_a_list_of_them() -> None:
    [one] = parse(b" \n" + PAUSE + b"\n").wanted
    assert one.command == Pause(id="1", why="thin")
    requests = parse(b"[" + PAUSE + b', {"id": "2", "op": "send", "name": "buy", "args": {"n": 1}} ]')
    assert [wanted.id for wanted in requests.wanted] == ["1", "2"]
    assert requests.wanted[1].command == Send(id="2", name="buy", args={"n": 1})
    assert not requests.refused


@pytest.mark.parametrize("empty", [b"", b" \n", b"[]"])
def test_an_empty_file_has_no_commands(empty: bytes) -> None:
    assert not parse(empty).wanted
    assert not parse(empty).refused


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"id": "1", "op": "pau', "it is not JSON: ."),
        (PAUSE + b"}", "it is not JSON: ."),
        (b'"pause"', "it is not a command: expected an object such as"),
        (b"pause", "it is not a command"),
        (b"[" + PAUSE, "it is not JSON"),
        (b'{"id": "\xff"}', "it is not UTF-8"),
        (b"[" * 5000, "it is not JSON|nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply|not JSON"),
        (
            b"[" + b",".join([PAUSE] * (MOST_COMMANDS + 1)) + b"]",
            "it holds 257 commands, at most 256 are read",
        ),
    ],
    ids=lambda value: repr(value[:16]) if isinstance(value, bytes) else None,
)
def test_a_file_that_is_not_commands_is_refused_as_a_whole(data: bytes, why: str) -> None:
    with pytest.raises(ControlError, match=why):
        parse(data)


def test_a_bad_command_is_refused_alone_by_its_id() -> None:
    requests = parse(
        b'[{"id": "0", "op": "puase"}, ' + PAUSE + b', {"id": "2", "op": "send"}, 7, {"op": "pause"}]'
    )
    assert [wanted.id for wanted in requests.wanted] == ["1"]
    assert [refused.id for refused in requests.refused] == ["0", "2", "", ""]
    problems = [refused.problem for refused in requests.refused]
    assert '(did you mean "pause"?)' in problems[0]
    assert "missing required field `name`" in problems[1]
    assert problems[2].startswith("command 4 of 5: not a request")
    assert problems[3].startswith("command 5 of 5 (pause) has no id")


def test_an_id_has_a_bound() -> None:
    long = "x" * (LONGEST_ID + 1)
    [refused] = parse(msgspec.json.encode({"id": long, "op": "pause"})).refused
    assert refused.id == ""
    assert "an id of 129 characters: at most 128" in refused.problem


def test_an_id_given_twice_is_one_command() -> None:
    again = parse(b"[" + PAUSE + b', {"why":"thin","op":"pause","id":"1"}]')
    assert len(again.wanted) == 1
    assert not again.refused
    other = parse(b"[" + PAUSE + b', {"op":"resume","id":"1"}]')
    assert [wanted.op for wanted in other.wanted] == ["pause"]
    assert "id '1' is given to two commands" in other.refused[0].problem


def test_the_digest_of_a_command_does_not_depend_on_its_formatting() -> None:
    [one] = parse(PAUSE).wanted
    [same] = parse(b'{"why":"thin", "id":"other", "op":"pause"}').wanted
    assert one.digest == same.digest
    assert parse(b'{"id":"1","op":"pause"}').wanted[0].digest != one.digest


@settings(max_examples=examples(150))
@given(garbage | damaged(st.just(b"[" + PAUSE + b"," + PAUSE + b"]")) | st.text(max_size=30).map(str.encode))
def test_garbage_raises_only_control_error(data: bytes) -> None:
    try:
        requests = parse(data)
    except ControlError:
        return
    assert all(wanted.id for wanted in requests.wanted)


def test_a_byte_order_mark_is_ignored_and_another_encoding_is_named() -> None:
    one = b'{"id": "1", "op": "pause"}\r\n'
    assert parse(b"\xef\xbb\xbf" + one).wanted == parse(one).wanted
    with pytest.raises(ControlError, match="it is UTF-16: save it as UTF-8"):
        parse(one.decode().encode("utf-16"))
