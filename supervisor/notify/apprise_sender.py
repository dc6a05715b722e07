"""The process that sends messages with apprise, one at a time.

A target that is slow, hangs or crashes its sender affects only this process. Requests come on standard input, one JSON
object per line, because other users can read arguments and environments; each is answered with one line. SIGALRM ends
the process when a message takes too long, whatever the code is blocked in. At the end of its input it sends the
remaining requests and exits.

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
from .queue import Level
from .secret_urls import redacted, scheme_of

__all__ = ["SendRequest", "SendResult", "main", "no_library", "not_usable"]


def no_library() -> str:
    """Why nothing can be sent, with the command that installs apprise."""
    return f"apprise is not installed beside the supervisor: {install_command('notify')}"


_NICE = 10
_LONGEST_REASON = 300
_LOAD_WITHIN = 120
"""Seconds for loading the library, which takes long on a busy machine."""
_CAUSE = re.compile(r"Exception: (.*)", re.DOTALL)
"""How apprise logs, at debug level, why a connection failed,"""
_ERRNO = re.compile(r"\[Errno -?\d+\] ([\w ]+)")
"""and the part of that for people."""


class SendRequest(msgspec.Struct, frozen=True):
    url: str
    title: str
    text: str
    level: Level
    within: int
    """Whole seconds."""


class SendResult(msgspec.Struct, frozen=True):
    """The result of a request. `reason` contains no secrets."""

    arrived: bool
    reason: str = ""
    for_good: bool = False
    """Whether retrying is useless."""


def main() -> None:
    os.nice(_NICE)
    # Ctrl-C in the supervisor's terminal must not end this process: the supervisor still sends its last messages.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # A plugin may print; only answers may go to standard output.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=SendRequest)
        signal.alarm(_LOAD_WITHIN)
        result = _send(request)
        signal.alarm(0)
        try:
            answers.write(msgspec.json.encode(result) + b"\n")
        except BrokenPipeError:
            # The supervisor has ended; its last messages are still sent.
            continue


def _send(request: SendRequest) -> SendResult:
    try:
        import apprise
    except ImportError:
        return SendResult(False, no_library(), for_good=True)
    collector = _ErrorCollector()
    log = logging.getLogger("apprise")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.handlers[:] = [collector]
    try:
        # Any: its types differ between releases, while these few calls have stayed the same.
        library: Any = apprise
        sender = library.Apprise(asset=library.AppriseAsset(app_id="neverblink", async_mode=False))
        if not sender.add(request.url):
            return SendResult(False, _not_known(request.url), for_good=True)
        signal.alarm(request.within)
        if sender.notify(body=request.text or request.title, title=request.title, notify_type=request.level):
            return SendResult(True)
        reason = collector.reason() or "it was not accepted, and apprise gave no reason"
    except Exception as problem:
        reason = f"{type(problem).__name__}: {problem}"
    shown = " ".join(redacted(reason, request.url).split())
    return SendResult(False, shown[:_LONGEST_REASON])


def not_usable(url: str) -> str:
    """Why `url` can never work, "" when it may. Sends nothing."""
    log = logging.getLogger("apprise")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            # Warnings of its libraries are not about this URL.
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


class _ErrorCollector(logging.Handler):
    """Collects what apprise logs: its warnings, and the cause of a failed connection."""

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
