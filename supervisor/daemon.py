"""The daemon: what `neverblink up` runs.

Claims the home, looks at what an earlier supervisor left, starts or adopts the bot, and serves until it is stopped.
This file is the composition root: it makes the parts, connects them, and starts and closes them in order.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, TextIO

import msgspec
import zmq

from ..protocol.errors import NeverblinkError
from ..protocol.events import HomeChanged
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
from .deploy.rescue import end_orphaned_workers
from .deploy.shutdown import Shutdown
from .deploy.startup import Startup
from .environment.prepare import Preparer
from .notify.notifier import Notifier
from .release.hooked_repositories import repositories
from .release.releases import ReleaseStore
from .release.repair import Repair
from .sockets.bindings import Bindings
from .sockets.client_keys import client_keys
from .sockets.listener import keep_listener
from .sockets.listeners import Listeners
from .sockets.worker_keys import WorkerKeys
from .sockets.worker_socket import SOCKET, WorkerSocket
from .sockets.zap import ZapHandler
from .store.deploy_lock import DeployLock
from .store.history_thread import HistoryThread
from .store.home_watch import HomeWatch
from .store.identity import Identity, keep, recognise
from .store.pause import PauseNotes
from .store.state_dir import Home, HomeClaim, Sockets
from .system.background_writer import in_background
from .system.descriptors import limit, raise_limit
from .system.event_bus import EventBus
from .system.helper_process import HelperProcess
from .system.hidden_files import HiddenFiles
from .system.orphan_reaper import OrphanReaper
from .system.permissions import privately
from .system.process import Adopted
from .system.process_group import ProcessGroups
from .system.sd_notify import SdNotify
from .system.signals import Signals
from .web.web_process import WebProcess
from .workers import leftovers
from .workers.platform import Child, Launch, Platform
from .workers.spawn import spawn

__all__ = ["DaemonError", "run"]

_LINGER_MS = 500
_LEAST_DESCRIPTORS = 128
"""About 30 for the supervisor itself, 24 for a deployment, and room for clients."""
_LEAST_TO_LISTEN = 512
"""The listener's 256 connections, and as many for the other clients."""


class DaemonError(NeverblinkError):
    """The supervisor can't work in this home."""


class _Inherited(msgspec.Struct, frozen=True):
    """What workers get as the supervisor got it: environment, umask, and the limit of open file descriptors."""

    environment: Mapping[str, str]
    umask: int
    descriptors: int


class _ClaimedHome(msgspec.Struct, frozen=True):
    """The home, which this supervisor owns. `copied`: it was found to be a copy just now."""

    home: Home
    claim: HomeClaim
    sockets: Sockets
    identity: Identity
    copied: bool


async def run(
    config: Config,
    home: Home,
    *,
    fresh: bool = False,
    chosen: Chosen | None = None,
    rescue: bool = False,
    environment: Mapping[str, str] | None = None,
    screen: TextIO | None = sys.stderr,
) -> int:
    """Run the bot of `config` in `home` until it is stopped; return 0 when that went well, else 1.

    The bot goes on from where an earlier run's journal ends; `fresh` sets that aside instead. Workers of an earlier run
    that are alive are adopted. Progress goes to `screen`, line by line. SIGINT and SIGTERM stop the bot as `down` does;
    a second one kills it.

    Raises `HomeBusy` when a supervisor owns the home, `HomeInUse` when workers are alive that cannot be adopted, or
    that `fresh` would cut off, `HomeOrphaned` when a bot is alive whose home was removed (unless `rescue` says to end
    it, and to go on from its journal), `JournalError` when an earlier run's cannot be read, `StartFailed` when the
    first worker does not come to lead, and what `Releases.make` and `History.open` raise.
    """
    descriptors = raise_limit()
    _check_descriptors("a supervisor needs", _LEAST_DESCRIPTORS, "")
    if config.listen is not None:
        _check_descriptors("[listen] needs", _LEAST_TO_LISTEN, ", or remove [listen]")
    environment = environment or os.environ
    with (
        privately() as umask,
        home.claim(config.name) as claim,
        home.sockets() as sockets,
        in_background(screen) as out,
    ):
        path = home.logs / "supervisor.log"
        log = EventLog(path, out, time.time_ns, bot=config.name, settings=config.log)
        try:
            claimed = _ClaimedHome(home, claim, sockets, *_recognise(home, log))
            preparer = _preparer(home, environment, lambda: 0, log)
            await end_orphaned_workers(
                config, home, chosen, preparer, environment, rescue=rescue, say=log.say, warn=log.warn
            )
            daemon = _Daemon(config, claimed, log, _Inherited(environment, umask, descriptors))
            return await daemon.run(fresh, chosen)
        except NeverblinkError as problem:
            # The caller prints it on the screen.
            log.file_only(problem.message)
            raise


class _Daemon:
    """The parts of one supervisor."""

    def __init__(self, config: Config, claimed: _ClaimedHome, log: EventLog, inherited: _Inherited) -> None:
        home, environment = claimed.home, inherited.environment
        self._loop = loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._report_bug)
        self._config, self._home, self._claimed, self._inherited, self._log = (
            config,
            home,
            claimed,
            inherited,
            log,
        )
        self._version = _version()
        # what happens, and who is told
        self._bus = EventBus(config.name, time.time_ns, log.say)
        self._history_thread = HistoryThread(loop, log.say)
        self._sd_notify = SdNotify(environment, loop)
        self._notifier = Notifier(config.notify, config.name, socket.gethostname(), environment, log.say)
        # the bot
        self._bindings = Bindings(claimed.sockets)
        self._groups = ProcessGroups(log.say)
        self._reaper = OrphanReaper()
        self._bot = LiveBot(
            home, self._bus, self._platform(), self._history_thread, lambda id: self._first_release.find(id)
        )
        # deployments
        releases = ReleaseStore(home.releases)
        self._deploy_lock = DeployLock(self._history_thread)
        self._pauses = PauseNotes(self._history_thread)
        self._preparer = _preparer(home, environment, lambda: self._bot.state.leading_pid, log)
        self._deployments = Deployments(
            self._bot, releases, self._history_thread, self._deploy_lock, self._preparer, home.logs
        )
        self._shutdown = Shutdown(self._bot, self._deployments, self._preparer, log.say)
        self._branch_watch = BranchWatch(home, releases, self._history_thread, self._bot.state, log.say)
        # from start to first tick
        repair = Repair(releases, config.directory, lambda: [config.directory, *repositories(home)], log.warn)
        self._first_release = FirstRelease(config, home, self._deployments, repair, self._shutdown, log.say)
        self._adoption = Adoption(home, config, self._bot, self._deployments, self._history_thread, log.say)
        self._arrival = Arrival(home, self._bot, self._adoption, self._history_thread, log.say)
        self._startup = Startup(
            home, self._bot, self._deployments, self._adoption, self._first_release, self._shutdown, log.say
        )
        # commands
        self._status_reader = StatusReader(
            self._bot,
            self._deployments,
            self._branch_watch,
            self._pauses,
            self._notifier,
            home,
            self._version,
            self._home_problem,
        )
        self._dispatcher = Dispatcher(
            self._bot, self._deployments, self._branch_watch, self._status_reader, self._shutdown
        )
        self._files = ControlFiles(
            home.path,
            config.files,
            self._history_thread,
            status=self._status_reader.read,
            carry_out=self._dispatcher.carry_out,
            now=time.time_ns,
            say=log.say,
        )
        for listener in (self._sd_notify, self._notifier, self._files):
            self._bus.subscribe(listener.note)
        # made while it runs
        self._database_missing = False
        self._worker_keys: WorkerKeys | None = None
        self._home_watch: HomeWatch | None = None
        self._zap_handler: ZapHandler | None = None
        self._worker_socket: WorkerSocket | None = None
        self._listeners: Listeners | None = None
        self._page: WebProcess | None = None
        self._tcp_listener: HelperProcess | None = None

    async def run(self, fresh: bool, chosen: Chosen | None) -> int:
        await self._history_thread.open(self._home.database, self._config.name)
        # One I/O thread is enough: it moves bytes, and only when there are some.
        context = zmq.Context[zmq.Socket[bytes]](1)
        try:
            await self._look_at_home(fresh, chosen)
            self._adoption.begin()
            self._open_sockets(context)
            self._start_helpers()
            await self._recall()
            await self._files.begin()
            self._arrival.publish_started(os.getpid(), self._version)
            shutdown = self._shutdown
            with Signals(shutdown.interrupted, shutdown.hung_up, shutdown.suspending, shutdown.resumed):
                await self._startup.run(self._config, chosen)
                if not shutdown.stopping:
                    self._branch_watch.begin()
                    self._log.say("up: Ctrl-C stops the bot at its next boundary, and this supervisor")
                return await shutdown.wait()
        finally:
            await self._close(context)

    async def _look_at_home(self, fresh: bool, chosen: Chosen | None) -> None:
        claimed, alive = self._claimed, self._adoption
        await self._arrival.look(
            claimed.identity, copied=claimed.copied, fresh=fresh, chosen=chosen is not None
        )
        if self._arrival.ended_unasked:
            self._preparer.doubt()
        # When no worker is alive, none has the old keys.
        load = WorkerKeys.load if alive.alive else WorkerKeys.renew
        self._worker_keys = load(self._home.key)
        ended = await asyncio.to_thread(self._preparer.arrive)
        if ended:
            self._log.say(ended)
        await asyncio.to_thread(self._deployments.releases.sweep)
        self._bus.subscribe(self._history_thread.note)
        self._arrival.publish_exits(self._groups)

    def _open_sockets(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        try:
            self._zap_handler = ZapHandler(context)
            self._worker_socket = WorkerSocket(
                context,
                lambda socket: self._bindings.bind(socket, SOCKET, for_workers=True),
                zap_handler=self._zap_handler,
                worker_keys=self._keys(),
                bot=self._config.name,
                reject_reason=self._bot.pool.admit,
                on_message=self._bot.heard,
                warn=self._log.say,
            )
            self._bot.pool.connect(self._worker_socket)
            self._listeners = Listeners(context, self._bindings, self._dispatcher.carry_out)
        except zmq.ZMQError as problem:
            raise DaemonError(
                f"home {self._home.path}: a socket can't be made in {self._home.run} ({problem.strerror}): "
                "is the disk full, or the directory not yours?"
            ) from None
        for listener in (
            self._log.note,
            self._bot.pool.records.note,
            self._deployments.note,
            self._pauses.take,
            self._branch_watch.note,
            self._listeners.publish,
        ):
            self._bus.subscribe(listener)

    def _start_helpers(self) -> None:
        config, home, say = self._config, self._home, self._log.say
        if config.web is not None:
            self._page = WebProcess(config.web, home, config.name, self._version, say, log=config.log)
        self._bindings.keep_room(say)
        self._home_watch = HomeWatch(home, self._claimed.claim, self._restore, self._home_changed)
        if config.listen is not None:
            self._tcp_listener = keep_listener(config.listen, home, say)

    async def _recall(self) -> None:
        """Have each part read what an earlier supervisor left."""
        await self._bot.pool.records.recall()
        await self._deploy_lock.recall()
        await self._pauses.recall()
        await self._deployments.recall()
        await self._bot.outages.recall(self._history_thread)
        await self._arrival.note_outage()

    async def _close(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        # First: a command without an answer is for the next supervisor to carry out.
        await self._files.close()
        self._bindings.close()
        if self._home_watch is not None:
            self._home_watch.close()
        self._branch_watch.close()
        self._bot.close()
        await self._deployments.close()
        # The TCP listener last: the last answers pass through it.
        for part in (self._page, self._listeners, self._tcp_listener):
            if part is not None:
                await part.close()
        if self._worker_socket is not None:
            self._worker_socket.close(_LINGER_MS)
        if self._zap_handler is not None:
            self._zap_handler.close()
        await self._history_thread.close()
        self._sd_notify.close()
        await self._notifier.close()
        # Waits until the last messages are sent, at most as long as the sockets linger.
        await asyncio.to_thread(context.term)
        await self._groups.close()
        self._reaper.close()
        if not self._bot.state.registry.alive():
            leftovers.sweep(self._home.run)

    # what the parts are given

    def _platform(self) -> Platform:
        loop, inherited, say = self._loop, self._inherited, self._log.say

        def start(launch: Launch, on_exit: Callable[[int], None]) -> Child:
            if self._home_watch is not None:
                # A worker can't reach us by a socket whose file is gone.
                self._home_watch.check()
            keys = self._keys().of(launch.assignment.worker)
            environment, umask, descriptors = inherited.environment, inherited.umask, inherited.descriptors
            return spawn(launch, keys, environment, on_exit, loop, umask, say, descriptors)

        def watch(pid: int, started: int, on_exit: Callable[[None], None]) -> Child:
            return Adopted(pid, started, on_exit, loop)

        return Platform(time.time_ns, time.monotonic_ns, loop, start, watch, end_group=self._groups.end)

    def _keys(self) -> WorkerKeys:
        assert self._worker_keys is not None
        return self._worker_keys

    def _restore(self) -> list[str]:
        """Make again what was removed from the home; return the names."""
        home, identity = self._home, self._claimed.identity
        made = [f"run/{name}" for name in self._bindings.restore()]
        if identity.id and keep(home, identity):
            made.append(home.identity.name)
        if not home.key.exists():
            self._keys().keep(home.key)
            made.append(home.key.name)
        missing = not home.database.exists()
        if missing and not self._database_missing:
            # It is made with the next note, which is that of this change. Until then it is reported once.
            made.append(home.database.name)
        self._database_missing = missing
        return made

    def _home_changed(self, state: Literal["removed", "moved", "remade"], text: str) -> None:
        self._bus.tell(HomeChanged(state=state, text=text))

    def _home_problem(self) -> str:
        if self._home_watch is None:
            return ""
        self._home_watch.check()
        return self._home_watch.problem

    def _report_bug(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback or task of the supervisor has failed, which does not touch the bot."""
        problem: BaseException | None = context.get("exception")
        where = traceback.extract_tb(problem.__traceback__)[-1:] if problem is not None else []
        at = f" ({os.path.basename(where[0].filename)}:{where[0].lineno})" if where else ""
        self._log.say(f"a fault in the supervisor{at}: {problem!r}: {context.get('message', '')}")


def _check_descriptors(what: str, least: int, otherwise: str) -> None:
    if limit() < least:
        raise DaemonError(
            f"{what} {least} file descriptors, and this process may open {limit()}: raise the hard limit "
            f"(`ulimit -Hn`, or LimitNOFILE= in the unit){otherwise}"
        )


def _recognise(home: Home, log: EventLog) -> tuple[Identity, bool]:
    try:
        return recognise(home)
    except OSError as problem:
        log.warn(f"{home.identity} can't be written: {problem.strerror}")
        return Identity("", 0, 0), False


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
