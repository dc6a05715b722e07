"""The root of every error neverblink raises on purpose.

Each error is defined beside what raises it, derives from `NeverblinkError`, carries the facts as attributes, and its
message is one line for a person: the thing, what was expected of it, and what to do. Only the command line turns an
error into text and an exit code; all other code distinguishes errors by class and reads their attributes.
"""

from __future__ import annotations

__all__ = ["NeverblinkError"]


class NeverblinkError(Exception):
    """An error that a person can correct; `message` says what it is, and how."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
