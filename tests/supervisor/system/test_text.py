"""Text from outside: what `clean` returns can be encoded, and what `visible` returns leaves a terminal alone."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.supervisor.api.event_log import EventLog
from neverblink.supervisor.hook.push_output import PushOutput
from neverblink.supervisor.system.text import (
    ansi_removed,
    clean,
    is_encodable,
    visible,
    visible_in_json,
    visible_in_place,
)
from neverblink.supervisor.terminal.console import SafeConsole
from neverblink.supervisor.terminal.screen import Screen, columns

POISON = {
    "escape": "\x1b[2J",
    "title": "\x1b]0;owned\x07",
    "return": "safe\rrm -rf",
    "c1": "\x9b31m",
    "bidi": "\u202etxt.exe\u2066",
    "zero-width": "ad\u200bmin\ufeff",
    "separators": "a\u2028b\u2029c\x85d",
    "tag": "\U000e0041",
    "backspace": "yes\b\b\bno",
    "null": "a\0b",
    "surrogate": "caf\udce9",
}

any_text = st.text(st.characters())


def is_safe(text: str, keep: str = "\n\t") -> bool:
    return all(
        sign in keep or unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for sign in text
    )


def test_invalid_utf_8_is_shown_as_escaped_bytes() -> None:
    assert clean(b"caf\xe9") == clean("caf\udce9") == "caf\\xe9"
    assert clean("café".encode()) == "café"
    assert clean("\ud83d") == "\\ud83d"


@given(st.one_of(any_text, st.binary()))
def test_every_input_can_be_encoded_afterwards(raw: str | bytes) -> None:
    text = clean(raw)
    text.encode()
    assert is_encodable(text)
    assert clean(text) == text


@given(any_text)
def test_shown_text_contains_no_terminal_control(text: str) -> None:
    assert is_safe(visible(text))
    assert is_safe(visible(text, keep=""), keep="")
    assert is_safe(visible_in_place(text), keep="\n")
    assert len(visible_in_place(text)) == len(text)
    assert visible(visible(text)) == visible(text)


def test_ordinary_text_is_shown_unchanged() -> None:
    for text in ("naïve café", "Привет, 世界 🎉", "a\n\tb", "日本語\u3000全角"):
        assert visible(text) == clean(text) == text


@given(st.recursive(any_text.filter(is_encodable), lambda inner: st.lists(inner)))
def test_escaping_does_not_change_the_meaning_of_json(value: object) -> None:
    document = json.dumps(value, ensure_ascii=False)
    assert is_safe(visible_in_json(document))
    assert json.loads(visible_in_json(document)) == value


def test_only_colour_codes_of_a_program_are_removed() -> None:
    assert ansi_removed("\x1b[31mred\x1b[0m and \x9b1mbold") == "red and bold"
    assert ansi_removed("plain") == "plain"


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_a_screen_shows_its_own_colours_and_no_control_from_outside(poison: str) -> None:
    out = io.StringIO()
    screen = Screen(out, {"FORCE_COLOR": "1"})
    screen.line(f"{poison} {screen.good(poison)}")
    screen.live(poison)
    for line in columns([(poison, "b"), (screen.warn(poison), "b")]):
        screen.line(line)
    written = out.getvalue()
    for ours in ("\x1b[32m\x1b[1m", "\x1b[1m\x1b[32m", "\x1b[33m", "\x1b[0m"):
        written = written.replace(ours, "")
    assert is_safe(written)


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_no_push_log_or_screen_gets_a_control_character(poison: str, tmp_path: Path) -> None:
    pushed, shown, drawn = io.StringIO(), io.StringIO(), io.StringIO()
    voice = PushOutput(pushed)
    for say in (voice.step, voice.detail, voice.warn, voice.verdict, voice.banner):
        say(poison)
    voice.banner("what", poison)
    log = EventLog(tmp_path / "supervisor.log", shown, lambda: 0)
    log.say(poison)
    SafeConsole(drawn).print(poison, markup=False)
    for written in (pushed, shown, drawn):
        assert is_safe(written.getvalue()), repr(written.getvalue())
    assert is_safe((tmp_path / "supervisor.log").read_text(encoding="utf-8"))


def test_text_from_outside_cannot_set_a_colour() -> None:
    out = io.StringIO()
    Screen(out, {"FORCE_COLOR": "1"}).line(clean("\ufdd3red"))
    assert "\x1b" not in out.getvalue()
