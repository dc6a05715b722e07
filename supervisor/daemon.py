"""The daemon: what `neverblink up` runs.

Claims the home, looks what is there, makes a release of the project, starts the first worker on it and serves until
the bot is stopped. Everything here is putting together; what is done is done by the parts.
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

import zmq

from ..protocol import duration
from ..protocol.errors import NeverblinkError
from ..protocol.events import (
    Event,
    HomeChanged,
    LeaderChanged,
    SupervisorStarted,
    SupervisorStopping,
    WorkerExited,
)
from ..protocol.status import BotStatus, HistorySeen
from .api.dispatcher import Dispatcher
from .api.event_log import EventLog
from .api.status import status_of, this_supervisor
from .bot.bot import LiveBot
from .bot.bring_up import StartFailed
from .config.config import Config
from .control_files import ControlFiles
from .deploy.adoption import Adoption
from .deploy.branch_watch import BranchWatch
from .deploy.deployments import Deployments
from .deploy.first_release import Chosen, FirstRelease, Spoken
from .environment.prepare import Preparer
from .environment.trial import try_project
from .notify.notifier import Notifier
from .release.hooked_repositories import repositories
from .release.releases import Release, ReleaseStore
from .release.repair import Repair
from .sockets.bindings import Bindings
from .sockets.client_keys import client_keys
from .sockets.listener import keep_listener
from .sockets.listeners import Listeners
from .sockets.worker_keys import WorkerKeys
from .sockets.worker_socket import SOCKET, WorkerSocket
from .sockets.zap import ZapHandler
from .store import living_workers
from .store.deploy_lock import DeployLock
from .store.history_rows import WINDOWS, WorkerRow
from .store.history_thread import HistoryThread
from .store.home_watch import HomeWatch
from .store.identity import Identity, keep, recognise
from .store.orphans import Orphan, end_orphans, refuse_beside_orphans
from .store.pause import PauseNotes
from .store.state_dir import Home, HomeClaim, Sockets
from .system.background_writer import in_background
from .system.descriptors import limit, raise_limit
from .system.errors import Refusal
from .system.event_bus import EventBus
from .system.helper_process import HelperProcess
from .system.hidden_files import HiddenFiles
from .system.orphan_reaper import OrphanReaper
from .system.permissions import privately
from .system.process import Adopted
from .system.process_group import ProcessGroups, mark_of
from .system.sd_notify import SdNotify
from .system.signals import Signals
from .web.web_process import WebProcess
from .workers import leftovers
from .workers.platform import Child, Launch, Platform
from .workers.registry import Member
from .workers.spawn import spawn

__all__ = ["DaemonError", "run"]

_WORKERS = "workers"
_LINGER_MS = 500
_LEAST_DESCRIPTORS = 128
"""About 30 for itself, 24 for a deployment, and room for clients."""
_LEAST_TO_LISTEN = 512
"""The listener's 256 connections, and as many for what else connects."""


class DaemonError(NeverblinkError):
    """The supervisor can't work in this home."""


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

    The bot goes on from where an earlier run's journal ends; `fresh` sets that aside instead. Progress goes to
    `screen`, line by line. SIGINT and SIGTERM stop the bot as `down` does; a second one ends it where it stands.

    Workers of an earlier run that are alive are adopted, and the bot goes on with them.

    Raises `HomeBusy` when a supervisor owns the home, `HomeInUse` when it is in use by what cannot be adopted, or
    `fresh` is asked for beside a bot that is alive, `HomeOrphaned` when a bot is alive whose home this was (unless
    `rescue` says to end it, and to go on from its journal), `JournalError` when an earlier run's cannot be read,
    `StartFailed` when the first worker does not come to lead, and what `Releases.make` and `History.open` raise.
    """
    descriptors = raise_limit()
    if limit() < _LEAST_DESCRIPTORS:
        raise DaemonError(
            f"a supervisor needs {_LEAST_DESCRIPTORS} file descriptors, and this process may open {limit()}: raise the "
            "hard limit (`ulimit -Hn`, or LimitNOFILE= in the unit)"
        )
    if config.listen is not None and limit() < _LEAST_TO_LISTEN:
        raise DaemonError(
            f"[listen] needs {_LEAST_TO_LISTEN} file descriptors, and this process may open {limit()}: raise the hard "
            "limit (`ulimit -Hn`, or LimitNOFILE= in the unit), or remove [listen]"
        )
    with (
        privately() as umask,
        home.claim(config.name) as claim,
        home.sockets() as sockets,
        in_background(screen) as out,
    ):
        path = home.logs / "supervisor.log"
        log = EventLog(path, out, time.time_ns, bot=config.name, settings=config.log)
        try:
            identity, copied = _recognise(home, log)
            orphans = _refuse_orphans(home, rescue)
            if orphans:
                await _try_before_rescue(config, home, chosen, environment or os.environ, log)
                for one in orphans:
                    log.say(
                        f"ending {one}, whose home was removed: the bot goes on from its journal", "warning"
                    )
                end_orphans(orphans)
            daemon = _Daemon(
                config,
                home,
                (identity, copied),
                claim,
                sockets,
                log,
                environment or os.environ,
                umask,
                descriptors,
                chosen,
            )
            return await daemon.run(fresh)
        except NeverblinkError as problem:
            # The screen's copy is said by whoever called us.
            log.file_only(problem.message)
            raise


def _recognise(home: Home, log: EventLog) -> tuple[Identity, bool]:
    try:
        return recognise(home)
    except OSError as problem:
        log.say(f"{home.identity} can't be written: {problem.strerror}", "warning")
        return Identity("", 0, 0), False


def _refuse_orphans(home: Home, rescue: bool) -> list[Orphan]:
    """Raise `HomeOrphaned` when the bot of a removed home is alive; with `rescue` return its workers."""
    found = refuse_beside_orphans(home, rescue=rescue)
    if rescue:
        # Whoever leads and is not in the history: that was removed, or is an older one.
        found += [
            Orphan(one.pid, one.started, "worker", None)
            for one in living_workers.alive_in(home)
            if not one.release
        ]
    return found


async def _try_before_rescue(
    config: Config, home: Home, chosen: Chosen | None, environment: Mapping[str, str], log: EventLog
) -> None:
    """See that the code can be started for which the living worker is ended. Raises `NeverblinkError`."""
    if (chosen is not None and chosen.release) or ReleaseStore(home.releases).current() is not None:
        return
    directory = chosen.directory if chosen is not None and chosen.directory else config.directory
    hidden = HiddenFiles((*home.private, *client_keys(environment)), lambda text: log.say(text, "warning"))
    preparer = Preparer(home.environments, environment, hidden=hidden)
    try:
        await try_project(directory, preparer, environment, Spoken(log.say))
    except NeverblinkError as problem:
        problem.message += (
            ". The worker was not ended, and the bot ticks on: mend it and run `up --rescue` again"
        )
        raise


class _Daemon:
    def __init__(
        self,
        config: Config,
        home: Home,
        identity: tuple[Identity, bool],
        claim: HomeClaim,
        sockets: Sockets,
        log: EventLog,
        environment: Mapping[str, str],
        umask: int,
        descriptors: int,
        chosen: Chosen | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._bug)
        self._config = config
        self._chosen = chosen
        self._home = home
        self._identity, self._is_copy = identity
        self._claim = claim
        self._bindings = Bindings(sockets)
        self._watch: HomeWatch | None = None
        self._log = log
        self._since = time.time_ns()
        self._version = _version()
        self._stopped = asyncio.Event()
        self._stopping: asyncio.Task[str] | None = None
        self._leaving: asyncio.Task[list[str]] | None = None
        self._workers = 0
        self._database_missing = False
        self._copied = ""
        """What is to be said when this home turned out to be a copy, "" otherwise."""
        self._left: leftovers.JournalEnd | None = None
        """Where the earlier run ended that this one goes on from."""
        self._history_thread = HistoryThread(loop, log.say)
        self._bus = EventBus(config.name, time.time_ns, log.say)
        self._notify = SdNotify(environment, loop)
        self._bus.subscribe(self._notify.note)
        self._notifier = Notifier(config.notify, config.name, socket.gethostname(), environment, log.say)
        self._bus.subscribe(self._notifier.note)

        def start(launch: Launch, on_exit: Callable[[int], None]) -> Child:
            if self._watch is not None:
                # It could not reach us by a socket whose file is gone.
                self._watch.check()
            # What the bot makes is the bot's affair: it gets the umask that we were started with.
            keys = self._keys().of(launch.assignment.worker)
            return spawn(launch, keys, environment, on_exit, loop, umask, log.say, descriptors)

        def watch(pid: int, started: int, on_exit: Callable[[None], None]) -> Child:
            return Adopted(pid, started, on_exit, loop)

        self._groups = ProcessGroups(log.say)
        self._reaper = OrphanReaper()
        outside = Platform(time.time_ns, time.monotonic_ns, loop, start, watch, end_group=self._groups.end)
        self._worker_keys: WorkerKeys | None = None
        self._gate: ZapHandler | None = None
        self._worker_socket: WorkerSocket | None = None
        self._bot = LiveBot(
            home,
            self._bus,
            outside,
            line=self._line,
            next_worker=self._next_worker,
            started=self._note_worker,
            find=self._find,
        )
        self._releases = ReleaseStore(home.releases)
        self._deploy_lock = DeployLock(self._history_thread)
        self._pauses = PauseNotes(self._history_thread)
        self._preparer = Preparer(
            home.environments,
            environment,
            self._leading_pid,
            hidden=HiddenFiles((*home.private, *client_keys(environment)), self._say_warning),
        )
        self._deployments = Deployments(
            self._bot, self._releases, self._history_thread, self._deploy_lock, self._preparer, home.logs
        )
        self._first = FirstRelease(
            config,
            home,
            self._releases,
            Repair(
                self._releases,
                config.directory,
                lambda: [config.directory, *repositories(home)],
                self._say_warning,
            ),
            self._preparer,
            self._deployments.runs,
            self._history_thread,
            log.say,
            lambda: self._stopping is not None,
        )
        self._adoption = Adoption(home, config, self._bot, self._deployments, self._history_thread, log.say)
        self._branch_watch = BranchWatch(
            home, self._releases, self._history_thread, self._leading_release, log.say
        )
        self._dispatcher = Dispatcher(
            self._bot,
            self._deployments,
            self._history_thread,
            self._deploy_lock,
            status=self._status,
            down=self._down,
            leave=self._leave,
            asked=self._branch_watch.asked,
        )
        self._files = ControlFiles(
            home.path,
            config.files,
            self._history_thread,
            status=self._status,
            carry_out=self._dispatcher.carry_out,
            now=time.time_ns,
            say=log.say,
        )
        self._bus.subscribe(self._files.note)

    async def run(self, fresh: bool) -> int:
        await self._history_thread.open(self._home.database, self._config.name)
        # One I/O thread is all there is: it moves bytes, and only when there are some.
        context = zmq.Context[zmq.Socket[bytes]](1)
        listeners: Listeners | None = None
        page: WebProcess | None = None
        listener: HelperProcess | None = None
        try:
            await self._arrive(fresh)
            self._adoption.begin()
            listeners = self._open(context)
            page = self._page()
            self._bindings.keep_room(self._log.say)
            self._watch = HomeWatch(self._home, self._claim, self._restore, self._home_changed)
            listener = self._listener()
            await self._recall()
            await self._files.begin()
            self._tell_started()
            with Signals(self._interrupted, self._hung_up, self._suspending, self._resumed):
                if not await self._go_on():
                    await self._deployments.take_up(self._config)
                    await self._start()
                if self._stopping is None:
                    self._branch_watch.begin()
                    self._log.say("up: Ctrl-C stops the bot at its next boundary, and this supervisor")
                await self._stopped.wait()
            return 1 if self._stopping is not None and await self._stopping else 0
        finally:
            # First: what has no answer yet is for the next supervisor to take up, and not to be given up.
            await self._files.close()
            self._bindings.close()
            if self._watch is not None:
                self._watch.close()
            self._branch_watch.close()
            self._bot.close()
            await self._deployments.close()
            if page is not None:
                await page.close()
            if listeners is not None:
                await listeners.close()
            if listener is not None:
                # After the desk: the last answers pass through it.
                await listener.close()
            if self._worker_socket is not None:
                self._worker_socket.close(_LINGER_MS)
            if self._gate is not None:
                self._gate.close()
            await self._history_thread.close()
            self._notify.close()
            await self._notifier.close()
            # Waits for what is on its way out, as long as the sockets linger.
            await asyncio.to_thread(context.term)
            await self._groups.close()
            self._reaper.close()
            if not self._bot.registry.alive():
                leftovers.sweep(self._home.run)

    def _say_copied(self, known: list[WorkerRow]) -> None:
        """Say so when this home is a copy of another one."""
        identity, copied = self._identity, self._is_copy
        others = living_workers.foreign(self._home, known)
        if not copied and not others:
            return
        text = (
            f"this home is a copy{f' of home {identity.copy_of}' if identity.copy_of else ''}, or was restored from a "
            "backup: it begins a life of its own, from the journal that is in it"
        )
        if others:
            named = ", ".join(f"{one.worker} (pid {one.pid})" for one in others)
            text += f". The bot that it was copied from is alive, trades as well, and is left alone: {named}"
        self._copied = text

    async def _arrive(self, fresh: bool) -> None:
        known = await self._history_thread.ask(lambda history: history.remaining())
        await asyncio.to_thread(self._say_copied, known)
        await self._adoption.look(known, fresh=fresh, chosen=self._chosen is not None)
        alive = self._adoption.alive
        left = await asyncio.to_thread(leftovers.journal_left, self._home.journal)
        if left is not None and fresh:
            aside = await asyncio.to_thread(leftovers.set_aside, self._home)
            self._log.say(f"set the journal of the earlier run aside: {aside}")
        elif left is not None and not alive:
            self._log.say(f"going on from the earlier run, which {left}")
            self._left = left
            if not left.stopped:
                self._preparer.doubt()
            seq, at = await self._history_thread.ask(lambda history: history.last_effect())
            if seq > left.seq and at > left.at:
                # A command took effect in a frame that the journal does not have.
                self._bot.registry.earlier_frame = left.number + 1
        leftovers.sweep(self._home.run, alive)
        # Without them nobody who has the old keys is left.
        self._worker_keys = WorkerKeys.load(self._home.key) if alive else WorkerKeys.renew(self._home.key)
        ended = await asyncio.to_thread(self._preparer.arrive)
        if ended:
            self._log.say(ended)
        await asyncio.to_thread(self._releases.sweep)
        self._bus.subscribe(self._history_thread.note)
        for one in (one for one in known if one.worker not in alive):
            mark = mark_of(one.worker, str(self._home.run))
            self._groups.end(one.worker, one.pid, one.started, mark)
            self._bus.tell(
                WorkerExited(
                    bot=self._bus.bot,
                    at=self._bus.now(),
                    worker=one.worker,
                    release=one.release,
                    pid=one.pid,
                    code=None,
                    reason="ended while no supervisor looked",
                )
            )

    def _open(self, context: zmq.Context[zmq.Socket[bytes]]) -> Listeners:
        try:
            self._gate = ZapHandler(context)
            self._worker_socket = WorkerSocket(
                context,
                lambda socket: self._bindings.bind(socket, SOCKET, for_workers=True),
                gate=self._gate,
                worker_keys=self._keys(),
                bot=self._config.name,
                admit=self._bot.pool.admit,
                hear=self._bot.heard,
                puzzled=self._log.say,
            )
            listeners = Listeners(context, self._bindings, self._dispatcher.carry_out)
        except zmq.ZMQError as problem:
            raise DaemonError(
                f"home {self._home.path}: a socket can't be made in {self._home.run} ({problem.strerror}): "
                "is the disk full, or the directory not yours?"
            ) from None
        self._bus.subscribe(self._log.note)
        self._bus.subscribe(self._keep_windows)
        self._bus.subscribe(self._tidy_logs)
        self._bus.subscribe(self._note_leader)
        self._bus.subscribe(self._pauses.take)
        self._bus.subscribe(self._branch_watch.note)
        self._bus.subscribe(listeners.publish)
        return listeners

    def _restore(self) -> list[str]:
        """Make again what is kept in the home and is gone; return what that was."""
        made = [f"run/{name}" for name in self._bindings.restore()]
        if self._identity.id and keep(self._home, self._identity):
            made.append(self._home.identity.name)
        if not self._home.key.exists():
            self._keys().keep(self._home.key)
            made.append(self._home.key.name)
        missing = not self._home.database.exists()
        if missing and not self._database_missing:
            # With the next note, which is that of this very change: until that is written it is told once.
            made.append(self._home.database.name)
        self._database_missing = missing
        return made

    def _home_changed(self, state: Literal["removed", "moved", "remade"], text: str) -> None:
        self._bus.tell(HomeChanged(bot=self._bus.bot, at=self._bus.now(), state=state, text=text))

    def _page(self) -> WebProcess | None:
        settings = self._config.web
        if settings is None:
            return None
        return WebProcess(
            settings, self._home, self._config.name, self._version, self._log.say, log=self._config.log
        )

    def _listener(self) -> HelperProcess | None:
        listen = self._config.listen
        return keep_listener(listen, self._home, self._log.say) if listen is not None else None

    async def _recall(self) -> None:
        known = await self._history_thread.recall(_WORKERS, int) or 0
        # A power cut can take the history's last notes, and no worker's name may come twice.
        self._workers = max(known, await asyncio.to_thread(leftovers.newest_worker, self._home))
        await self._deploy_lock.recall()
        await self._pauses.recall()
        await self._deployments.recall()
        await self._bot.outages.recall(self._history_thread)
        await self._note_outage()

    async def _note_outage(self) -> None:
        """A bot that ended without having been stopped was out from then on."""
        left = self._left
        if left is not None and not left.stopped and not self._copied:
            leaders = await self._history_thread.ask(
                lambda history: [one for one in history.leaders(20) if one.worker]
            )
            worker, release = (leaders[0].worker, leaders[0].release) if leaders else ("", "")
            self._bot.outages.found(left.at, worker, release, "it ended while no supervisor looked")

    def _tell_started(self) -> None:
        if self._copied:
            self._bus.tell(
                HomeChanged(bot=self._bus.bot, at=self._bus.now(), state="copied", text=self._copied)
            )
        left = self._left
        found = (
            "alive"
            if self._adoption.alive
            else "new"
            if left is None or self._copied
            else "stopped"
            if left.stopped
            else "dead"
        )
        self._bus.tell(
            SupervisorStarted(
                bot=self._bus.bot, at=self._bus.now(), pid=os.getpid(), version=self._version, found=found
            )
        )

    async def _go_on(self) -> bool:
        """Adopt the workers that are alive, if there are any; return whether the bot goes on with them."""
        if not self._adoption.alive:
            return False
        self._log.say(f"home {self._home.path}: the bot is alive, and a supervisor comes back to it")
        return await self._adoption.complete()

    async def _start(self) -> None:
        """Start the bot: on what an operator has named, else on what led last, else on the project's directory.

        A bot that has led before is tried until it leads, since an operator may not be there to see it fail. What is
        new, or was named just now, is tried once. Raises `NeverblinkError`.
        """
        led = "" if self._chosen is not None else await self._first.led_last()
        try:
            release, config = await (self._first.find(led) if led else self._first.make(self._chosen))
            if self._stopping is not None:
                return
            self._log.say(f"home {self._home.path}, release {release.id} of {release.origin}")
            if led:
                await self._first.describe(release)
                led = release.id
            await self._bot.start(release, config)
        except NeverblinkError as problem:
            if self._stopping is not None:
                # An operator ended it before it had begun: that is no failure.
                return
            if not led:
                if self._releases.current() is None and isinstance(problem, StartFailed):
                    problem.message += "; this bot has never led, so it is not tried again"
                raise
            reason = problem.reason if isinstance(problem, StartFailed) else problem.message
            self._bot.keep_starting(led, reason)

    # being asked to leave

    def _interrupted(self) -> None:
        if self._stopping is None:
            self._log.say("stopping the bot at its next boundary; Ctrl-C again ends it where it stands")
            self._stop("interrupted")
            return
        open_ones = [m.open_decision for m in self._bot.registry.alive() if m.open_decision]
        cut = f", in decision {', '.join(open_ones)}" if open_ones else ""
        self._log.say(f"ending the bot where it stands{cut}")
        self._bot.kill("ended by a second interrupt")

    def _hung_up(self) -> None:
        """The terminal was closed: that ends the supervisor, and not the bot."""
        if self._stopping is None and self._leaving is None:
            why = "the terminal was closed (SIGHUP)"
            self._leaving = asyncio.get_running_loop().create_task(self._leave(why))

    def _suspending(self) -> None:
        self._log.say(
            "stopped by Ctrl-Z (SIGTSTP): the bot ticks on, and no supervisor looks after it. A leader that dies is "
            f"not succeeded, and no command is answered. `fg`, or `kill -CONT {os.getpid()}`, goes on",
            "warning",
        )

    def _resumed(self, seconds: float) -> None:
        self._log.say(
            f"the supervisor was stopped for {duration.show(round(seconds * 10) * 100_000_000)}, in which the bot had "
            "none, and goes on",
            "warning",
        )

    async def _down(self, why: str) -> str:
        return await asyncio.shield(self._stop(why))

    def _stop(self, why: str) -> asyncio.Task[str]:
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop_all(why))
        return self._stopping

    async def _stop_all(self, why: str) -> str:
        try:
            # Before it is told: whoever hears of it and asks for the status must see it there.
            self._bot.stopping = why
            self._bus.tell(SupervisorStopping(bot=self._bus.bot, at=self._bus.now(), reason=why))
            self._preparer.cancel(why)
            await self._deployments.settle(why)
            problem = await self._bot.stop(why)
            self._log.say(f"the bot has stopped{', badly: ' + problem if problem else ''}")
            return problem
        finally:
            self._stopped.set()

    async def _leave(self, why: str) -> list[str]:
        """End, and leave the workers to themselves; return which they are."""
        if self._stopping is not None:
            raise Refusal("busy", "the bot is being stopped")
        self._bus.tell(SupervisorStopping(bot=self._bus.bot, at=self._bus.now(), reason=why))
        await self._deployments.leave(why)
        left = [member.worker for member in self._bot.registry.alive()]
        self._log.say(
            f"{why}: {', '.join(left) or 'no worker'} runs on, and the next `neverblink up` comes back to it"
        )
        self._stopped.set()
        return left

    # what the parts are given

    def _leading_release(self) -> str:
        leading = self._bot.leading
        return leading.release if leading is not None else ""

    def _leading_pid(self) -> int:
        leading = self._bot.leading
        return leading.pid if leading is not None and leading.alive else 0

    def _line(self) -> WorkerSocket:
        assert self._worker_socket is not None
        return self._worker_socket

    def _keys(self) -> WorkerKeys:
        assert self._worker_keys is not None
        return self._worker_keys

    async def _find(self, release: str) -> tuple[Release, Config]:
        return await self._first.find(release)

    def _say_warning(self, text: str) -> None:
        self._log.say(text, "warning")

    def _note_leader(self, event: Event) -> None:
        """Outside of a deployment, which does so itself, have the links name the release that leads."""
        if isinstance(event, LeaderChanged) and event.worker and self._deployments.active is None:
            self._deployments.pruning.promote(event.release)

    def _next_worker(self) -> str:
        self._workers += 1
        count = self._workers
        self._history_thread.write(lambda history: history.keep(_WORKERS, count))
        return f"w{count}"

    def _bug(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something of ours raised where nobody waits for it. The bot is not touched by that."""
        problem: BaseException | None = context.get("exception")
        where = traceback.extract_tb(problem.__traceback__)[-1:] if problem is not None else []
        at = f" ({os.path.basename(where[0].filename)}:{where[0].lineno})" if where else ""
        self._log.say(f"a fault in the supervisor{at}: {problem!r}: {context.get('message', '')}")

    def _note_worker(self, member: Member) -> None:
        worker, release, pid, started = member.worker, member.release, member.pid, member.started
        log, at = member.log, member.since
        self._history_thread.write(lambda history: history.started(worker, release, pid, started, log, at))

    def _tidy_logs(self, event: Event) -> None:
        """A worker that dies again and again leaves many logs, also where nothing is deployed."""
        if isinstance(event, WorkerExited):
            self._deployments.tidy_logs()

    def _keep_windows(self, event: Event) -> None:
        """Whoever looks back one day wants to know in which windows the bot had to tick."""
        leader = self._bot.leading
        if isinstance(event, LeaderChanged) and leader is not None and leader.hello is not None:
            windows = list(leader.hello.windows)
            self._history_thread.write(lambda history: history.keep(WINDOWS, windows))

    def _status(self) -> BotStatus:
        return status_of(
            self._bot,
            now=time.time_ns(),
            home=str(self._home.path),
            active=self._deployments.active,
            in_probation=self._deployments.in_probation,
            waiting=self._deployments.waiting,
            last=self._deployments.last,
            lock=self._deploy_lock.lock,
            branches=self._branch_watch.seen,
            supervisor=this_supervisor(self._version, self._since),
            notify=self._notifier.seen,
            pause=self._pauses.note,
            history=_history_seen(self._history_thread),
            home_problem=self._home_problem(),
        )

    def _home_problem(self) -> str:
        if self._watch is None:
            return ""
        self._watch.check()
        return self._watch.problem


def _history_seen(history_thread: HistoryThread) -> HistorySeen | None:
    return (
        HistorySeen(history_thread.failing, history_thread.waiting, history_thread.lost)
        if history_thread.failing
        else None
    )


def _version() -> str:
    try:
        return version("neverblink")
    except PackageNotFoundError:
        return "unknown"
