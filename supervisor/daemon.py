"""The daemon: what `neverblink up` runs.

Claims the home, loads what an earlier supervisor left, starts or adopts the bot, and serves until it is stopped.
This file is the composition root: it makes the parts, connects them, and starts and closes them in order.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TextIO

from ..protocol.errors import NeverblinkError
from ..protocol.events import Event, WorkerExited
from ..protocol.listening import LISTEN_SOCKET
from .api.daemon_sockets import DaemonError, DaemonSockets, check_descriptors
from .api.dispatcher import Dispatcher
from .api.event_log import EventLog
from .api.status import StatusReader
from .bot.bot import LiveBot
from .config.config import Config
from .control_files import ControlFiles
from .deploy.adoption import Adoption
from .deploy.arrival import Arrival
from .deploy.branch_watch import BranchWatch
from .deploy.deployments import Deployments
from .deploy.first_release import Chosen, FirstRelease
from .deploy.owned_home import OwnedHome
from .deploy.rescue import end_orphaned_workers
from .deploy.shutdown import Shutdown
from .environment.prepare import Preparer
from .feeds.feeds import BotFeeds
from .feeds.launcher import FeedLauncher, LivingFeed, living_feeds
from .notify.notifier import Notifier
from .release.hooked_repositories import repositories
from .release.releases import ReleaseStore
from .release.repair import Repair
from .sockets.client_keys import client_keys
from .sockets.tcp_listener import keep_listener
from .store.alone_lock import refuse_beside_alone
from .store.history_thread import HistoryThread
from .store.lock_and_pause import DeployLock, PauseNotes
from .store.state_dir import Home
from .system.event_bus import EventBus
from .system.helper_process import HelperProcess
from .system.hidden_files import HiddenFiles
from .system.open_files import raise_limit
from .system.orphan_reaper import OrphanReaper
from .system.permissions import privately
from .system.process_group import ProcessGroups
from .system.sd_notify import SdNotify
from .system.signals import Signals
from .system.streams import in_background
from .web.web_process import WebProcess, WebProcessSettings
from .workers import leftovers
from .workers.listening_sockets import ListeningSockets
from .workers.spawn import Inherited, platform_of

__all__ = ["DaemonError", "run"]


async def run(
    config: Config,
    home: Home,
    *,
    fresh: bool = False,
    chosen: Chosen | None = None,
    rescue: bool = False,
    last_readable: bool = False,
    environment: Mapping[str, str] | None = None,
    screen: TextIO | None = sys.stderr,
) -> int:
    """Run the bot of `config` in `home` until it is stopped; return 0 when it stopped well, else 1.

    The bot continues where an earlier run's journal ends; `fresh` sets that journal aside instead. With
    `last_readable`, it continues from the newest state that its code can read, if that is not the newest. Workers of an
    earlier run that are alive are adopted. Progress goes to `screen`, line by line. SIGINT and SIGTERM stop the bot
    as `down` does; a second signal kills it.

    Raises `HomeBusy` when a supervisor owns the home; `AloneBusy` when `neverblink run` runs the bot; `HomeInUse` when
    workers are alive that cannot be adopted, or that `fresh` would cut off; `HomeOrphaned` when a bot is alive whose
    home was removed (with `rescue` that bot is ended and continued from its journal); `JournalError` when an earlier
    run's journal cannot be read; `StartFailed` when the first worker does not come to lead; and what
    `ReleaseStore.make` and `HistoryThread.open` raise.
    """
    descriptors = raise_limit()
    check_descriptors(listening=config.listen is not None)
    environment = environment or os.environ
    with (
        privately() as umask,
        home.claim(config.name) as claim,
        home.sockets() as sockets,
        in_background(screen) as out,
    ):
        refuse_beside_alone(home)
        path = home.logs / "supervisor.log"
        log = EventLog(path, out, time.time_ns, bot=config.name, settings=config.log)
        try:
            owned = OwnedHome(home, claim, sockets, log.warn)
            preparer = _preparer(home, environment, lambda: 0, log)
            await end_orphaned_workers(
                config, home, chosen, preparer, environment, rescue=rescue, say=log.say, warn=log.warn
            )
            daemon = _Daemon(config, owned, log, Inherited(environment, umask, descriptors))
            daemon.go_back_to_readable(last_readable)
            return await daemon.run(fresh, chosen)
        except NeverblinkError as problem:
            # The caller prints it on the screen.
            log.file_only(problem.message)
            raise


class _Daemon:
    """The parts of one supervisor: made in `__init__`, started in `run`, closed in `_close`."""

    def __init__(self, config: Config, owned: OwnedHome, log: EventLog, inherited: Inherited) -> None:
        self._config, self._owned, self._log = config, owned, log
        home, environment, say = owned.home, inherited.environment, log.say
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log.loop_exception)
        self._version = _version()
        # events and their listeners
        self._bus = EventBus(config.name, time.time_ns, say)
        self._history = HistoryThread(loop, say)
        self._sd_notify = SdNotify(environment, loop)
        self._notifier = Notifier(config.notify, config.name, socket.gethostname(), environment, say)
        # the bot
        self._groups = ProcessGroups(say)
        self._listening = ListeningSockets(say)
        self._reaper = OrphanReaper()
        platform = platform_of(
            inherited, loop, owned.keys_of, owned.check, self._groups.end, say, self._listening
        )
        self._bot = bot = LiveBot(
            home, self._bus, platform, self._history, lambda id: self._first_release.find(id)
        )
        # deployments
        releases = ReleaseStore(home.releases)
        self._deploy_lock = DeployLock(self._history)
        self._pauses = PauseNotes(self._history)
        self._preparer = _preparer(home, environment, lambda: bot.state.leading_pid, log)
        self._deployments = deployments = Deployments(
            bot, releases, self._history, self._deploy_lock, self._preparer, home.logs
        )
        self._feeds = BotFeeds(
            bot.state,
            FeedLauncher(home, config.name, inherited, owned.feed_key, log.warn),
            owned.feed_key,
            owned.socket_path,
            self._groups.end,
        )
        self._shutdown = Shutdown(bot, deployments, self._preparer, self._feeds.stop, say)
        self._branch_watch = BranchWatch(home, releases, self._history, bot.state, say)
        # the start: from the home as it was found to the first tick
        code = config.directory
        repair = Repair(releases, code, lambda: [code, *repositories(home)], log.warn)
        self._first_release = FirstRelease(config, home, deployments, repair, self._shutdown, say)
        self._adoption = Adoption(home, config, bot, deployments, self._history, say)
        self._arrival = Arrival(home, bot, self._adoption, self._history, say)
        # commands
        status = StatusReader(
            bot,
            deployments,
            self._branch_watch,
            self._pauses,
            self._notifier,
            owned,
            self._feeds,
            self._listening,
            self._version,
        )
        self._dispatcher = Dispatcher(
            bot, deployments, self._branch_watch, status, self._shutdown, self._feeds, home
        )
        self._sockets = DaemonSockets(home, owned.bindings, say)
        self._files = ControlFiles(
            home.path,
            config.files,
            self._history,
            status=status.read,
            carry_out=self._dispatcher.carry_out,
            now=time.time_ns,
            say=say,
        )
        self._living_feeds: list[LivingFeed] = []
        """The feeds that an earlier supervisor started."""
        self._web: WebProcess | None = None
        self._tcp_listener: HelperProcess | None = None
        for listener in (self._sd_notify, self._notifier, self._files):
            self._bus.subscribe(listener.note)

    def go_back_to_readable(self, wanted: bool) -> None:
        """Let a worker that cannot read the newest state begin with the newest one that it can read, if `wanted`."""
        self._bot.state.last_readable = wanted

    async def run(self, fresh: bool, chosen: Chosen | None) -> int:
        await self._history.open(self._owned.home.database, self._config.name)
        try:
            await self._look_at_home(fresh, chosen)
            self._adoption.begin()
            # Workers send their listening sockets before they report: open it before they can connect.
            self._listening.open(self._owned.path_of(LISTEN_SOCKET))
            self._sockets.open(self._bot, self._owned.worker_keys, self._dispatcher)
            self._subscribe()
            self._start_helpers()
            self._feeds.begin(self._living_feeds)
            await self._recall()
            await self._files.begin()
            self._arrival.publish_started(os.getpid(), self._version)
            shutdown = self._shutdown
            with Signals(shutdown.interrupted, shutdown.hung_up, shutdown.suspending, shutdown.resumed):
                await self._start_or_adopt(chosen)
                if not shutdown.stopping:
                    self._branch_watch.begin()
                    self._log.say("up: Ctrl-C stops the bot at its next boundary, and this supervisor")
                return await shutdown.wait()
        finally:
            await self._close()

    async def _look_at_home(self, fresh: bool, chosen: Chosen | None) -> None:
        owned, arrival = self._owned, self._arrival
        await arrival.look(owned.identity, copied=owned.copied, fresh=fresh, chosen=chosen is not None)
        if arrival.ended_unasked:
            self._preparer.doubt()
        self._living_feeds = await asyncio.to_thread(living_feeds, owned.home)
        owned.load_keys(renew=not (self._adoption.alive or self._living_feeds))
        ended = await asyncio.to_thread(self._preparer.arrive)
        if ended:
            self._log.say(ended)
        await asyncio.to_thread(self._deployments.releases.sweep)
        self._bus.subscribe(self._history.note)
        arrival.publish_exits(self._groups)

    async def _start_or_adopt(self, chosen: Chosen | None) -> None:
        """Adopt the workers that are alive, or else start the bot, on `chosen` if that is given."""
        if self._adoption.alive:
            self._log.say(f"home {self._owned.home.path}: the bot is alive, and a supervisor adopts it")
            if await self._adoption.complete():
                return
        await self._deployments.take_up(self._config)
        await self._first_release.start(chosen)

    def _subscribe(self) -> None:
        self._bus.subscribe(self._log.note)
        self._bus.subscribe(self._bot.pool.records.note)
        self._bus.subscribe(self._deployments.note)
        self._bus.subscribe(self._pauses.take)
        self._bus.subscribe(self._branch_watch.note)
        self._bus.subscribe(self._sockets.publish)
        self._bus.subscribe(self._feeds.note)
        self._bus.subscribe(self._note_exit)

    def _note_exit(self, event: Event) -> None:
        if isinstance(event, WorkerExited):
            self._listening.ended(event.worker, led=self._bot.state.registry.leader() is not None)

    def _start_helpers(self) -> None:
        config, home, say = self._config, self._owned.home, self._log.say
        if config.web is not None:
            settings = WebProcessSettings(str(home.path), config.name, self._version, config.web, config.log)
            self._web = WebProcess(settings, home, say)
        self._owned.bindings.keep_room(say)
        self._owned.begin(self._bus)
        if config.listen is not None:
            self._tcp_listener = keep_listener(config.listen, home, say)

    async def _recall(self) -> None:
        """Have each part load the state of an earlier supervisor."""
        await self._bot.pool.records.recall()
        await self._deploy_lock.recall()
        await self._pauses.recall()
        await self._deployments.recall()
        await self._bot.outages.recall(self._history)
        await self._arrival.note_outage()

    async def _close(self) -> None:
        # First: the next supervisor carries out a command that has no answer yet.
        await self._files.close()
        self._owned.close()
        self._branch_watch.close()
        self._feeds.close()
        self._bot.close()
        await self._deployments.close()
        if self._web is not None:
            await self._web.close()
        await self._sockets.close_listeners()
        if self._tcp_listener is not None:
            # After the listeners: it relays the last answers.
            await self._tcp_listener.close()
        self._sockets.close_workers()
        await self._history.close()
        self._sd_notify.close()
        await self._notifier.close()
        await self._sockets.close()
        await self._groups.close()
        self._reaper.close()
        alive = self._bot.state.registry.alive()
        self._listening.close(remove=not alive)
        if not alive:
            leftovers.sweep(self._owned.home.run)


def _preparer(
    home: Home, environment: Mapping[str, str], leader: Callable[[], int], log: EventLog
) -> Preparer:
    hidden = HiddenFiles((*home.private, *client_keys(environment)), log.warn)
    return Preparer(home.environments, environment, leader, hidden=hidden)


def _version() -> str:
    try:
        return version("neverblink")
    except PackageNotFoundError:
        return "unknown"
