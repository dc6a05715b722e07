"""The project's old dialect and metaphors stay out of code, tests and documents.

`python -m tests.docs.retired_words ROOM` prints a room's lines. What to write instead is in docs/glossary.md.
"""

from __future__ import annotations

import pytest

from . import retired_words


def test_no_line_has_a_retired_word() -> None:
    assert [f"{line.path}:{line.number}: {line.text}" for line in retired_words.find()] == []


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
