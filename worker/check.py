"""Checks whether a bot can run here, for `neverblink check`, in a process of its own."""

from __future__ import annotations

import msgspec

from ..protocol.errors import NeverblinkError
from ..protocol.window import WindowSpec
from .io.output import report_exception
from .main import find
from .worker import WorkerBot

__all__ = ["BotCheck", "check"]


class BotCheck(msgspec.Struct, frozen=True):
    """The result of a check. For a function that uses `join()`, only its existence is known."""

    ok: bool
    problem: str = ""
    interval: int | None = None
    windows: tuple[WindowSpec, ...] = ()
    schema: tuple[int, str] | None = None
    warnings: tuple[str, ...] = ()
    """What is probably not meant, such as a handler with a typo."""


def check(target: str) -> BotCheck:
    """Import the bot, make its first state, encode it and decode it again. Runs no handler."""
    try:
        found = find(target)
        if not isinstance(found, type):
            return BotCheck(True)
        bot = WorkerBot(found)
        schema = bot.check_first_state()
    except NeverblinkError as problem:
        return BotCheck(False, problem.message)
    except BaseException as problem:
        report_exception(problem)
        return BotCheck(
            False, f"importing {target.partition(':')[0]} failed: {type(problem).__name__}: {problem}"
        )
    windows = tuple(window.spec for window in bot.windows)
    return BotCheck(True, "", bot.interval, windows, (schema.version, schema.fingerprint), bot.warnings)
