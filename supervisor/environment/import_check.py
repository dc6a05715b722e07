"""Imports a release's bot and checks its state in a process of its own, because it may hang, crash or print."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any

import msgspec

from ...protocol import duration
from ...protocol.errors import NeverblinkError
from ...protocol.wire import UNDECODABLE
from ..config.config import Config
from ..config.feed_settings import FeedSettings
from ..system.install_hint import install_command
from ..system.interpreter import find_interpreter

__all__ = ["ImportFailed", "check_feed", "check_import", "read_answer"]


class ImportFailed(NeverblinkError):
    """The bot cannot be imported, or its state does not encode."""


def check_import(config: Config, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run `neverblink.worker --check` on the bot of `config`; return its interval, windows and schema.

    A bot with a command is not run, and nothing is known of it. Raises `ImportFailed`, and `InterpreterError` when the
    Python does not exist.
    """
    if config.command:
        return {"ok": True}
    return _checked(config, config.bot, ["neverblink.worker", "--check", config.bot], environment, "on_start")


def check_feed(config: Config, feed: FeedSettings, environment: Mapping[str, str]) -> None:
    """Import the function of a feed, without calling it. Raises as `check_import`."""
    _checked(config, feed.run, ["neverblink.worker.feeds", "--check", feed.run], environment, "the function")


def _checked(
    config: Config, target: str, module: list[str], environment: Mapping[str, str], slow_work: str
) -> dict[str, Any]:
    python, within = find_interpreter(config.python, environment), config.handoff.start_within
    try:
        done = subprocess.run(
            [python, "-m", *module],
            cwd=config.directory,
            env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=within / 1e9,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        output = _last_line(problem.stderr or b"").decode(errors="replace")
        raise ImportFailed(
            f"importing {target} takes longer than start_within = {duration.show(within)}: "
            f"move slow work into {slow_work}, or raise it in [handoff]"
            + (f"; its last output: {output}" if output else "")
        ) from None
    except OSError as problem:
        raise ImportFailed(f"{python} cannot be run: {problem.strerror}") from None
    return read_answer(config, done)


def read_answer(config: Config, done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    """The JSON object in the check's last line of output. The bot may have printed before. Raises `ImportFailed`."""
    try:
        answer: dict[str, Any] = msgspec.json.decode(_last_line(done.stdout), type=dict[str, Any])
    except UNDECODABLE:
        last = _last_line(done.stderr).decode(errors="replace")
        if "No module named" in last and "neverblink" in last:
            last = f"{config.python} has no neverblink: {install_command(python=config.python)}"
        raise ImportFailed(last or f"{config.bot} ended its check with exit {done.returncode}") from None
    if not answer.get("ok"):
        raise ImportFailed(str(answer.get("problem") or "the check failed and does not say why"))
    return answer


def _last_line(output: bytes) -> bytes:
    lines = output.strip().splitlines()
    return lines[-1] if lines else b""
