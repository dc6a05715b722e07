"""Deployments that wait for the one that runs to end, in the order they came.

A push may not be refused because another one is being deployed: whoever pushed would have to find out when to push
again, and then git would say that everything is up to date. So it waits; and when a later push of the same branch waits
too, it makes room for that one, because what it brought was replaced before it ran.
"""

from __future__ import annotations

from ..protocol.commands import Deploy
from .refusal import Refusal

__all__ = ["Queue"]

_MOST = 64


class Queue:
    """The commands that wait. Nothing in here takes time: who waits asks again when something has changed."""

    def __init__(self) -> None:
        self._waiting: list[Deploy] = []

    def enter(self, command: Deploy) -> None:
        """Stand at the end. Raises `Refusal` when too many wait."""
        if len(self._waiting) >= _MOST:
            raise Refusal("busy", f"{_MOST} deployments are waiting already: try again later")
        self._waiting.append(command)

    def leave(self, command: Deploy) -> None:
        self._waiting = [other for other in self._waiting if other is not command]

    def is_first(self, command: Deploy) -> bool:
        return self._waiting[0] is command

    def replaced_by(self, command: Deploy) -> Deploy | None:
        """The later one that deploys the same branch, further on; a rehearsal only makes room for a rehearsal."""
        if not command.ref:
            return None
        at = next(at for at, other in enumerate(self._waiting) if other is command)
        return next((later for later in self._waiting[at + 1 :] if _what(later) == _what(command)), None)


def _what(command: Deploy) -> tuple[str, str, str, bool]:
    return command.repository, command.ref, command.directory, command.dry_run
