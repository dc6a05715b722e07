"""All subscriptions of a worker, in its event loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress

from ...protocol.feed_named import FeedNamed
from ...protocol.feed_queue import FeedQueues
from ...protocol.feed_wire import feed_socket
from ..io.precise_loop import Poller, Reactor
from .subscription import FeedSubscription, directory_watch

__all__ = ["FeedSubscriptions"]


class FeedSubscriptions:
    """The subscriptions of worker `me` to `feeds`. `key_of(feed)` is a feed's key, `path_of(name)` a socket's path.

    `on_input()` is called after events have arrived.
    """

    def __init__(
        self,
        me: str,
        feeds: Iterable[FeedNamed],
        run: str,
        key_of: Callable[[str], bytes],
        path_of: Callable[[str], str],
    ) -> None:
        self._me = me
        self._names = [feed.name for feed in feeds]
        self._run = run
        self._key_of = key_of
        self._path_of = path_of
        self._subscriptions: list[FeedSubscription] = []
        self._reactor: Reactor | None = None
        self._on_input: Callable[[], None] = _nothing
        self._watch = -1
        self.held: list[FeedSubscription] = []
        """Those that are not read, because the bot has to catch up first."""
        self._polls = False
        """The loop looks at descriptors only when it waits, and a bot that is late does not wait."""

    @property
    def waiting(self) -> bool:
        """Whether `look` may have something to do."""
        return bool(self.held) or self._polls

    def open(self, reactor: Reactor, queues: FeedQueues, on_input: Callable[[], None]) -> None:
        """Begin to subscribe, in the event loop `reactor`."""
        if not self._names or self._reactor is not None:
            return
        self._reactor, self._on_input = reactor, on_input
        self._polls = isinstance(reactor, Poller)
        self._watch = directory_watch(self._run)
        if self._watch >= 0:
            reactor.add_reader(self._watch, self._on_change)
        for name in self._names:
            self._subscriptions.append(
                FeedSubscription(
                    name,
                    self._me,
                    self._key_of(name),
                    lambda name=name: self._path_of(feed_socket(name)),
                    queues,
                )
            )
        self.attend()

    def attend(self) -> None:
        """Connect to the feeds that are not connected."""
        reactor = self._reactor
        if reactor is None:
            return
        for subscription in self._subscriptions:
            if subscription.fd < 0 and subscription.connect():
                self._read(subscription)

    def look(self) -> None:
        """Read again from feeds that were held up, if there is room; a loop that only polls reads from all."""
        if self._polls:
            for subscription in self._subscriptions:
                if subscription.fd >= 0 and not subscription.full and subscription not in self.held:
                    self._receive(subscription)
        if not self.held:
            return
        held, self.held = self.held, []
        for subscription in held:
            if subscription.full:
                self.held.append(subscription)
            elif subscription.fd >= 0:
                self._read(subscription)

    def close(self) -> None:
        reactor = self._reactor
        for subscription in self._subscriptions:
            if reactor is not None and subscription.fd >= 0 and subscription not in self.held:
                reactor.remove_reader(subscription.fd)
            subscription.close()
        if self._watch >= 0:
            if reactor is not None:
                reactor.remove_reader(self._watch)
            os.close(self._watch)
            self._watch = -1
        self._subscriptions.clear()
        self.held.clear()
        self._reactor = None

    def _read(self, subscription: FeedSubscription) -> None:
        assert self._reactor is not None
        self._reactor.add_reader(subscription.fd, lambda: self._on_readable(subscription))

    def _on_readable(self, subscription: FeedSubscription) -> None:
        if self._reactor is None or subscription.fd < 0:
            return
        if subscription.full:
            self._reactor.remove_reader(subscription.fd)
            self.held.append(subscription)
        else:
            self._receive(subscription)
        self._on_input()

    def _receive(self, subscription: FeedSubscription) -> None:
        fd = subscription.fd
        if not subscription.receive() and self._reactor is not None:
            self._reactor.remove_reader(fd)
            subscription.close()
            self.attend()

    def _on_change(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._watch, 65536)
        self.attend()


def _nothing() -> None:
    """The callback before one is set."""
