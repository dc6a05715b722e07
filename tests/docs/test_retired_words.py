"""The project's old dialect and metaphors stay out; a room that still has them only gets fewer.

`python -m tests.docs.retired_words ROOM` prints a room's lines. What to write instead is in docs/glossary.md.
"""

from __future__ import annotations

import warnings
from collections import Counter

import pytest

from . import retired_words

LEFT = {
    "supervisor/web": 1,
    "tests/supervisor": 78,
    "tests/web": 12,
}
"""Room: how many of its lines still have a retired word. A number here is only ever lowered; zero leaves the table."""


def found() -> Counter[str]:
    return Counter(retired_words.room_of(line.path) for line in retired_words.find())


@pytest.mark.filterwarnings("default")
def test_no_room_has_more_lines_with_a_retired_word_than_it_had() -> None:
    now = found()
    risen = {
        room: f"{count}, at most {LEFT.get(room, 0)}"
        for room, count in now.items()
        if count > LEFT.get(room, 0)
    }
    assert not risen, f"see python -m tests.docs.retired_words {' '.join(risen)}"
    lower = {room: now[room] for room, count in LEFT.items() if now[room] < count}
    if lower:
        warnings.warn(f"LEFT can be lowered to {lower}", stacklevel=1)


@pytest.mark.parametrize(
    "line",
    [
        "Somebody else leads.",
        "until nobody waits",
        "whoever asks first",
        "foo is no duration",
        "is told of it",
        "The desk answers.",
        "the heir's epoch",
    ],
)
def test_a_retired_word_is_found_in_prose(line: str) -> None:
    assert retired_words.in_text(line)


@pytest.mark.parametrize(
    "line", ["There is no such release.", "It is no longer needed.", "desktop", "their epoch"]
)
def test_a_plain_sentence_is_left_alone(line: str) -> None:
    assert not retired_words.in_text(line)


@pytest.mark.parametrize("name", ["heir", "_heir_of", "the_crew", "CourierProcess", "OldDesk", "BATON"])
def test_a_retired_metaphor_is_found_in_a_name(name: str) -> None:
    assert retired_words.in_name(name)


@pytest.mark.parametrize("name", ["their", "screwed", "storyteller", "Successor"])
def test_a_name_that_only_contains_the_letters_is_left_alone(name: str) -> None:
    assert not retired_words.in_name(name)
