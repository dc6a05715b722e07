"""Starting a feed's process, and finding one that an earlier supervisor started.

A feed is `PYTHON -m neverblink.worker.feeds` in the release's directory, with the environment of a worker, a session
and a log file of its own. The kernel knows whether a feed is alive: its process holds a lock on the feed's file.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ...protocol import lease
from ...protocol.errors import NeverblinkError
from ...protocol.feed_assignment import FEED_VARIABLE, FeedAssignment, encode_feed_assignment
from ...protocol.feed_file import FILE_SIZE, FeedRecord, decode_feed_file
from ..config.config import Config
from ..config.feed_settings import FeedSettings
from ..release.releases import Release
from ..store.identity import id_of
from ..store.state_dir import Home
from ..system.interpreter import InterpreterError, find_interpreter
from ..system.log_file import open_for_child
from ..system.presence import key_of
from ..system.process import Process, started_at
from ..system.process_group import MARK, mark_of
from ..workers.env_file import bot_environment
from ..workers.spawn import Inherited

__all__ = ["FeedFailed", "FeedLauncher", "FeedPlan", "LivingFeed", "living_feeds"]


class FeedFailed(NeverblinkError):
    """A feed's process could not be started."""


class FeedPlan(msgspec.Struct, frozen=True):
    """How a feed is to be run: from which release, with which configuration."""

    settings: FeedSettings
    release: Release
    config: Config


class LivingFeed(msgspec.Struct, frozen=True):
    """A feed that is alive: its process, and the last record in its file."""

    name: str
    pid: int
    started: int
    record: FeedRecord | None


def living_feeds(home: Home) -> list[LivingFeed]:
    """The feeds of the home that are alive, according to the kernel."""
    found: list[LivingFeed] = []
    for path in sorted(home.feeds.glob("*")) if home.feeds.is_dir() else []:
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            # This process has no lock on the file, so closing it releases none.
            pid = lease.lock_owner(fcntl.fcntl(file, lease.OFD_GETLK, lease.lock_query()))
            record = decode_feed_file(os.pread(file, FILE_SIZE, 0))
        finally:
            os.close(file)
        started = started_at(pid) if pid else None
        if pid and started is not None:
            known = record if record is not None and record.pid == pid else None
            found.append(LivingFeed(path.name, pid, started, known))
    return found


class FeedLauncher:
    """Starts the feeds of the bot `bot` in `home`. `key_of(feed)` is a feed's key."""

    def __init__(
        self,
        home: Home,
        bot: str,
        inherited: Inherited,
        key_of: Callable[[str], bytes],
        say: Callable[[str], None],
    ) -> None:
        self._home = home
        self._bot = bot
        self._inherited = inherited
        self._key_of = key_of
        self._say = say

    def log_of(self, feed: str) -> Path:
        return self._home.logs / f"feed-{feed}.log"

    def start(self, plan: FeedPlan, on_exit: Callable[[int], None]) -> tuple[Process, asyncio.Future[str]]:
        """Start a process of the feed. Returns it, and what it says when it is ready: "ready", or why it is not.

        Raises `FeedFailed`.
        """
        loop = asyncio.get_running_loop()
        settings, release, config, home = plan.settings, plan.release, plan.config, self._home
        name, log = settings.name, self.log_of(settings.name)
        environment = self._inherited.environment
        try:
            python = find_interpreter(config.python, environment)
            directory = release.path.resolve(strict=True)
            home.feeds.mkdir(mode=0o700, exist_ok=True)
            readable, writable = os.pipe()
            told, tells = os.pipe()
        except InterpreterError as problem:
            raise FeedFailed(problem.message) from None
        except OSError as problem:
            raise FeedFailed(f"feed {name} cannot be started: {problem}") from None
        assignment = FeedAssignment(
            bot=self._bot,
            feed=name,
            target=settings.run,
            release=release.id,
            run=str(home.run),
            file=str(home.feeds / name),
            key=self._key_of(name),
            buffer=settings.buffer,
            settings=settings.digest,
            log=config.log.format,
            log_file=str(log),
            log_size=config.log.size,
            log_keep=config.log.keep,
            ready=tells,
            home_key=key_of(home.path),
            home_id=id_of(home),
            starter=os.getpid(),
        )
        try:
            os.write(writable, encode_feed_assignment(assignment))
            with open_for_child(log, self._say) as output:
                child = subprocess.Popen(
                    [python, "-m", "neverblink.worker.feeds"],
                    cwd=directory,
                    env=self._environment(plan, environment, readable),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(readable, tells),
                    start_new_session=True,
                    umask=self._inherited.umask,
                )
            process = Process(child, on_exit, loop)
        except NeverblinkError as problem:
            os.close(told)
            raise FeedFailed(f"feed {name} cannot be started: {problem.message}") from None
        except OSError as problem:
            os.close(told)
            raise FeedFailed(f"feed {name} cannot be started: {problem}") from None
        finally:
            for descriptor in (readable, writable, tells):
                os.close(descriptor)
        return process, _answer(told, loop)

    def _environment(self, plan: FeedPlan, ours: Mapping[str, str], pipe: int) -> dict[str, str]:
        config = plan.config
        return {
            **bot_environment(config.env_file, config.data or self._home.data, ours),
            FEED_VARIABLE: str(pipe),
            MARK: mark_of(f"feed-{plan.settings.name}", str(self._home.run)),
        }


def _answer(told: int, loop: asyncio.AbstractEventLoop) -> asyncio.Future[str]:
    """What the process writes into its pipe, "" when it ends without a word."""
    answer: asyncio.Future[str] = loop.create_future()
    os.set_blocking(told, False)

    def on_readable() -> None:
        try:
            data = os.read(told, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        loop.remove_reader(told)
        os.close(told)
        if not answer.done():
            answer.set_result(data.decode(errors="replace"))

    loop.add_reader(told, on_readable)
    return answer
