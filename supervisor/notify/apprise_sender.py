"""The process that sends: one message at a time, as many as it is given, through apprise.

Everything slow, hanging or crashing that a target can do to its sender happens in this process. What to send comes on
the standard input, one JSON object a line, because arguments and environments can be read by others; each is answered
with one line. A message that takes too long ends the process: an alarm of the kernel's does that, whatever the code is
stuck in. When its input ends it sends what it was given and leaves.

`python -P -m neverblink.supervisor.notify.apprise_sender`, as `sender_process` starts it.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import warnings
from typing import Any

import msgspec

from ..system.install_hint import install_command
from .message import Level
from .secret_urls import redacted, scheme_of

__all__ = ["SendRequest", "SendResult", "main", "no_library", "not_usable"]


def no_library() -> str:
    """Why nothing can be sent, and the command that mends it."""
    return f"apprise is not installed beside the supervisor: {install_command('notify')}"


_NICE = 10
_LONGEST_REASON = 300
_LOAD_WITHIN = 120
"""Seconds for loading the library: on a machine that is busy with better things that can take a while."""
_CAUSE = re.compile(r"Exception: (.*)", re.DOTALL)
"""How apprise says, for debugging, what went wrong with a connection,"""
_ERRNO = re.compile(r"\[Errno -?\d+\] ([\w ]+)")
"""and what of that a person wants to read."""


class SendRequest(msgspec.Struct, frozen=True):
    url: str
    title: str
    text: str
    level: Level
    within: int
    """Whole seconds."""


class SendResult(msgspec.Struct, frozen=True):
    """What became of an order. `reason` has no secrets in it."""

    arrived: bool
    reason: str = ""
    for_good: bool = False
    """Trying again would not help."""


def main() -> None:
    os.nice(_NICE)
    # Ctrl-C in the supervisor's terminal is not meant for us, and the supervisor has its last words yet to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # A plugin may print; only answers may go where the answers go.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=SendRequest)
        signal.alarm(_LOAD_WITHIN)
        receipt = _send(order)
        signal.alarm(0)
        try:
            answers.write(msgspec.json.encode(receipt) + b"\n")
        except BrokenPipeError:
            # The supervisor has gone, and what it left to say is said all the same.
            continue


def _send(order: SendRequest) -> SendResult:
    try:
        import apprise
    except ImportError:
        return SendResult(False, no_library(), for_good=True)
    said = _Said()
    log = logging.getLogger("apprise")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.handlers[:] = [said]
    try:
        # Any: its types differ from release to release, and these few words have been the same in all of them.
        library: Any = apprise
        told = library.Apprise(asset=library.AppriseAsset(app_id="neverblink", async_mode=False))
        if not told.add(order.url):
            return SendResult(False, _not_known(order.url), for_good=True)
        signal.alarm(order.within)
        if told.notify(body=order.text or order.title, title=order.title, notify_type=order.level):
            return SendResult(True)
        reason = said.reason() or "it was not accepted, and nothing said why"
    except Exception as problem:
        reason = f"{type(problem).__name__}: {problem}"
    shown = " ".join(redacted(reason, order.url).split())
    return SendResult(False, shown[:_LONGEST_REASON])


def not_usable(url: str) -> str:
    """Why nothing can ever be sent to `url`, "" when something might; nothing is sent."""
    log = logging.getLogger("apprise")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            # Of the libraries behind it: they are not about this URL.
            warnings.simplefilter("ignore")
            import apprise

            library: Any = apprise
            return "" if library.Apprise().add(url) else _not_known(url)
    except ImportError:
        return no_library()
    except Exception as problem:
        return " ".join(redacted(f"{type(problem).__name__}: {problem}", url).split())[:_LONGEST_REASON]
    finally:
        log.disabled = before


def _not_known(url: str) -> str:
    return f"apprise does not know what to do with this URL ({scheme_of(url) or 'no scheme'})"


class _Said(logging.Handler):
    """What apprise says: what it warns of, and the cause where it has one."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._warned: list[str] = []
        self._causes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            self._warned.append(text)
        elif (cause := _CAUSE.search(text)) is not None:
            short = _ERRNO.search(cause[1])
            self._causes.append(short[1] if short else cause[1])

    def reason(self) -> str:
        return ": ".join([*self._warned[:1], *self._causes[:1]])


if __name__ == "__main__":
    main()
