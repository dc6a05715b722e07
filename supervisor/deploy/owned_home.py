"""The home that this supervisor owns: its identity, a watch on it, and restoring what was removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ...protocol.events import HomeChanged
from ...protocol.keys import Keys
from ..sockets.bindings import Bindings
from ..sockets.worker_keys import WorkerKeys
from ..store.home_watch import HomeWatch
from ..store.identity import Identity, keep, recognise
from ..store.state_dir import Home, HomeClaim, Sockets
from ..system.event_bus import EventBus

__all__ = ["OwnedHome"]


class OwnedHome:
    """`home`, which `claim` owns, with its `sockets`. `copied`: it was just found to be a copy.

    Calls `warn` when the identity can't be written.
    """

    def __init__(self, home: Home, claim: HomeClaim, sockets: Sockets, warn: Callable[[str], None]) -> None:
        self.home = home
        self.bindings = Bindings(sockets)
        self._sockets = sockets
        self._sockets = sockets
        try:
            self.identity, self.copied = recognise(home)
        except OSError as problem:
            warn(f"{home.identity} can't be written: {problem.strerror}")
            self.identity, self.copied = Identity("", 0, 0), False
        self._claim = claim
        self._worker_keys: WorkerKeys | None = None
        self._bus: EventBus | None = None
        self._watch: HomeWatch | None = None
        self._database_missing = False

    @property
    def worker_keys(self) -> WorkerKeys:
        """The keys of the workers' sockets, once they are loaded."""
        assert self._worker_keys is not None
        return self._worker_keys

    def path_of(self, name: str) -> str:
        """The path of a socket of that name, short enough to be bound. Raises `EndpointError` and `HomeError`."""
        return self._sockets.endpoint(name).removeprefix("ipc://")

    def keys_of(self, worker: str) -> Keys:
        """The keys of a new worker."""
        return self.worker_keys.of(worker)

    def feed_key(self, feed: str) -> bytes:
        """The key of a feed."""
        return self.worker_keys.feed(feed)

    def socket_path(self, name: str) -> str:
        """The path of a socket in the home, short enough for an address."""
        return self._sockets.endpoint(name).removeprefix("ipc://")

    def load_keys(self, *, renew: bool) -> None:
        """Load the keys that living workers have; with `renew`, make new keys. Raises `WorkerKeysError`."""
        load = WorkerKeys.renew if renew else WorkerKeys.load
        self._worker_keys = load(self.home.key)

    def begin(self, bus: EventBus) -> None:
        """Watch the home from now on, and report changes to `bus`."""
        self._bus = bus
        self._watch = HomeWatch(self.home, self._claim, self._restore, self._report)

    def check(self) -> str:
        """Check the home now; return what is wrong with it, "" for nothing."""
        if self._watch is None:
            return ""
        self._watch.check()
        return self._watch.problem

    def close(self) -> None:
        self.bindings.close()
        if self._watch is not None:
            self._watch.close()

    def _restore(self) -> list[str]:
        """Restore what was removed; return the names."""
        home = self.home
        made = [f"run/{name}" for name in self.bindings.restore()]
        if self.identity.id and keep(home, self.identity):
            made.append(home.identity.name)
        if not home.key.exists():
            self.worker_keys.keep(home.key)
            made.append(home.key.name)
        missing = not home.database.exists()
        if missing and not self._database_missing:
            # The next write makes it, which is the record of this change. Until then it is reported once.
            made.append(home.database.name)
        self._database_missing = missing
        return made

    def _report(self, state: Literal["removed", "moved", "remade"], text: str) -> None:
        if self._bus is not None:
            self._bus.tell(HomeChanged(state=state, text=text))
