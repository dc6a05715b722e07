"""The root of every error neverblink raises on purpose.

Each error is defined beside what raises it, derives from `NeverblinkError`, carries the facts as attributes, and its
message is one line for a person: the thing, what was expected of it, and the mend. Only the command line turns an
error into text and an exit code; everything else tells errors apart by class and reads their attributes.
"""

from __future__ import annotations

__all__ = ["NeverblinkError"]


class NeverblinkError(Exception):
    """Something went wrong that a person can mend; `message` says what, and how."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
