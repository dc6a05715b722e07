"""A leader's side of the state stream: its state, the journal and the followers."""

from __future__ import annotations

from typing import NamedTuple

from ..model.replica import Replica
from .journal_writer import JournalWriter
from .publisher import Publisher

__all__ = ["StateStream"]


class StateStream(NamedTuple):
    """Every record of a leader goes through these three: it is journaled, applied and published, in that order."""

    replica: Replica
    writer: JournalWriter
    publisher: Publisher
