"""A feed, as the bot sees it: `self.feeds["trades"]`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ...protocol.feed_named import FeedNamed
from ...protocol.feed_queue import FeedQueue, FeedQueues

__all__ = ["FeedView", "FeedViews"]


class FeedView:
    """How far this process is in a feed, and how old the newest event of it is. Times in ns."""

    def __init__(self, named: FeedNamed, queue: FeedQueue, wall: Callable[[], int]) -> None:
        self.name = named.name
        self._stale_after = named.stale_after
        self._queue = queue
        self._wall = wall
        self._since = wall()

    @property
    def n(self) -> int:
        """The number of the event that was applied last, 0 before the first."""
        return self._queue.position.n

    @property
    def waiting(self) -> int:
        """How many events this process has received and not applied."""
        return len(self._queue.events)

    @property
    def connected(self) -> bool:
        """Whether this process is connected to the feed."""
        return self._queue.connected

    @property
    def age(self) -> int:
        """How long ago the newest event that this process has received was published; before the first, how long this
        process has run."""
        return max(0, self._wall() - (self._queue.newest or self._since))

    @property
    def stale(self) -> bool:
        """Whether the feed has published nothing for longer than its `stale_after`."""
        return self._stale_after > 0 and self.age > self._stale_after


class FeedViews(Mapping[str, FeedView]):
    """The feeds of the configuration by name; with `any_name`, of any name."""

    def __init__(
        self,
        named: Iterable[FeedNamed],
        queues: FeedQueues,
        wall: Callable[[], int],
        *,
        any_name: bool = False,
    ) -> None:
        self._queues = queues
        self._wall = wall
        self._any_name = any_name
        self._views = {feed.name: self._view(feed) for feed in named}

    def __getitem__(self, name: str) -> FeedView:
        view = self._views.get(name)
        if view is not None:
            return view
        if self._any_name:
            view = self._views[name] = self._view(FeedNamed(name))
            return view
        known = f"it has {', '.join(self._views)}" if self._views else "it has none"
        raise KeyError(f"there is no [feeds.{name}] in the configuration: {known}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def _view(self, feed: FeedNamed) -> FeedView:
        return FeedView(feed, self._queues.queue(feed.name), self._wall)
