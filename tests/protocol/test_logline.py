"""Log lines in JSON, and the level of what says none."""

from __future__ import annotations

import json

import pytest

from neverblink.protocol.logline import Level, LogLine, decode_line, encode_line, level_of


def test_a_line_leaves_out_fields_without_a_value() -> None:
    line = LogLine("2026-11-24T14:05:09.123Z", "info", "fox", "hello", worker="w1", epoch=3, seq=0)
    written = encode_line(line)
    assert json.loads(written) == {
        "time": "2026-11-24T14:05:09.123Z", "level": "info", "bot": "fox", "text": "hello", "worker": "w1", "epoch": 3,
        "seq": 0,
    }  # fmt: skip
    assert written.endswith(b"}\n")
    assert decode_line(written.decode().rstrip()) == line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{}",
        '{"time": 5}',
        '{"time":"x","level":"loud","bot":"b","text":"t"}',
        '{"time":' + "[" * 5000,
    ],
)
def test_a_line_of_another_form_is_recognized(text: str) -> None:
    assert decode_line(text) is None


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("bought 3 at 100", "info"),
        ("WARNING:root:low on funds", "warning"),
        ("2026-11-24 14:05:09,123 ERROR bot: no answer", "error"),
        ("2026-11-24 14:05:09 [debug    ] tick", "debug"),
        ("CRITICAL it burns", "error"),
        ("Traceback (most recent call last):", "error"),
        ("neverblink: bot bot:Fox: there is no module bot", "error"),
        ("x" * 100 + " ERROR", "info"),
        ("TERROR", "info"),
    ],
)
def test_the_level_is_the_word_near_the_beginning(text: str, level: Level) -> None:
    assert level_of(text) == level


def test_a_traceback_is_an_error_up_to_its_last_line() -> None:
    lines = [
        "ticking", "Traceback (most recent call last):", '  File "bot.py", line 3, in on_tick', "    1 / 0",
        "ZeroDivisionError: division by zero", "ticking on",
    ]  # fmt: skip
    found: list[Level] = []
    for line in lines:
        found.append(level_of(line, found[-1] if found else "info"))
    assert found == ["info", "error", "error", "error", "error", "info"]
