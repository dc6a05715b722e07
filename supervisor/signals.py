"""Signals: what SIGINT and SIGTERM do while the daemon serves."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

__all__ = ["interrupts"]


class interrupts:
    """While entered, SIGINT and SIGTERM call `act` from the loop."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._act)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
