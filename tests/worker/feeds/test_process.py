"""A feed's process and its subscribers, as real processes and sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

from neverblink.protocol.feed_assignment import FEED_VARIABLE, FeedAssignment, encode_feed_assignment
from neverblink.protocol.feed_file import decode_feed_file
from neverblink.protocol.feed_named import FeedNamed
from neverblink.protocol.feed_queue import FeedItem, FeedQueues
from neverblink.protocol.feed_wire import (
    FeedDeclined,
    FeedReport,
    FeedStream,
    FeedWatch,
    feed_codec,
    framed,
    subscriber_codec,
)
from neverblink.worker.feeds.process import check_function
from neverblink.worker.feeds.subscriptions import FeedSubscriptions
from neverblink.worker.io.precise_loop import Poller
from tests.processes import wait_for_end

KEY = b"k" * 32
WITHIN = 20.0


class FeedHome:
    """A directory with one feed, `f`, whose code is in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "feed.log"
        self._processes: list[subprocess.Popen[bytes]] = []

    def write(self, code: str) -> None:
        (self.directory / "source.py").write_text(dedent(code))

    def start(self, *, buffer: int = 1 << 20) -> tuple[subprocess.Popen[bytes], str]:
        """Start a process of the feed; return it, and what it says when it is ready."""
        readable, writable = os.pipe()
        told, tells = os.pipe()
        me = FeedAssignment(
            "fox",
            "f",
            "source:f",
            "r1",
            str(self.directory),
            str(self.directory / "f"),
            KEY,
            buffer,
            log_file=str(self.log),
            ready=tells,
            starter=os.getpid(),
        )
        os.write(writable, encode_feed_assignment(me))
        os.close(writable)
        process = subprocess.Popen(
            [sys.executable, "-m", "neverblink.worker.feeds"],
            cwd=self.directory,
            env={**os.environ, FEED_VARIABLE: str(readable)},
            pass_fds=(readable, tells),
        )
        os.close(readable)
        os.close(tells)
        self._processes.append(process)
        said = os.read(told, 4096).decode()
        os.close(told)
        return process, said

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


class Subscriber:
    """A bot that applies what it receives at once."""

    def __init__(self, home: FeedHome) -> None:
        self.feeds = FeedQueues()
        self.items: list[FeedItem] = []
        self.restarts = 0
        self.lost: list[tuple[int, int]] = []
        self._poller = Poller()
        self._subscriptions = FeedSubscriptions(
            "w1",
            [FeedNamed("f")],
            str(home.directory),
            lambda _: KEY,
            lambda name: str(home.directory / name),
        )
        self._subscriptions.open(self._poller, self.feeds, lambda: None)

    @property
    def data(self) -> list[Any]:
        return [msgspec.msgpack.decode(item.data) for item in self.items]

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + WITHIN
        while not condition():
            assert time.monotonic() < end, self.data[-10:]
            self._poller.wait(0.02)
            self._subscriptions.look()
            self._subscriptions.attend()
            while batch := self.feeds.batch(1000, 1 << 40):
                self.feeds.mark(batch)
                for item in batch:
                    if (mark := self.feeds.mark_of(item)) is not None:
                        self.restarts += mark.restarted
                        self.lost += mark.lost
                self.items += batch
                self.feeds.apply(batch)

    def close(self) -> None:
        self._subscriptions.close()
        self._poller.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[FeedHome]:
    here = FeedHome(tmp_path)
    try:
        yield here
    finally:
        here.close()


@pytest.fixture
def subscriber(home: FeedHome) -> Iterator[Subscriber]:
    here = Subscriber(home)
    try:
        yield here
    finally:
        here.close()


COUNTS = """
    import time

    def f(feed):
        i = feed.resume or 0
        try:
            while True:
                i += 1
                feed.publish(i, resume=i)
                time.sleep(0.001)
        finally:
            print("closed the session", flush=True)
    """


def test_a_plain_function_gets_its_end_as_an_exception_and_its_successor_goes_on_where_it_stood(
    home: FeedHome, subscriber: Subscriber
) -> None:
    home.write(COUNTS)
    first, said = home.start()
    assert said == "ready"
    subscriber.until(lambda: len(subscriber.items) > 50)
    second, said = home.start()
    assert said == "ready"
    assert second.poll() is None
    first.terminate()
    assert first.wait(WITHIN) == 0
    assert "closed the session" in home.log.read_text()
    before = len(subscriber.items)
    subscriber.until(lambda: subscriber.restarts)
    subscriber.until(lambda: len(subscriber.items) > before + 50)
    assert subscriber.data == list(range(1, len(subscriber.items) + 1))
    assert (subscriber.restarts, subscriber.lost) == (1, [])


def test_a_killed_feed_has_sent_everything_up_to_its_resume(home: FeedHome, subscriber: Subscriber) -> None:
    home.write(COUNTS)
    first, _ = home.start()
    subscriber.until(lambda: len(subscriber.items) > 50)
    first.kill()
    first.wait()
    home.start()
    subscriber.until(lambda: subscriber.restarts and len(subscriber.items) > 150)
    once = list(dict.fromkeys(subscriber.data))
    assert once == list(range(1, len(once) + 1)), "none is lost"
    assert len(subscriber.data) - len(once) <= 1, "the last one may be published again"


def test_code_that_blocks_keeps_no_subscriber_from_what_was_published(
    home: FeedHome, subscriber: Subscriber
) -> None:
    home.write(
        """
        import time

        async def f(feed):
            for i in range(1000):
                feed.publish(i)
            time.sleep(60)
        """
    )
    home.start()
    subscriber.until(lambda: len(subscriber.items) == 1000)
    assert subscriber.data == list(range(1000))


def test_a_subscriber_that_does_not_read_slows_nothing_and_learns_what_it_has_lost(
    home: FeedHome, subscriber: Subscriber
) -> None:
    home.write(
        """
        import os, time

        def f(feed):
            feed.publish("first")
            while not os.path.exists("go"):
                time.sleep(0.01)
            began = time.monotonic()
            for i in range(20_000):
                feed.publish([i, "x" * 1000])
            print("published in", time.monotonic() - began, flush=True)
            open("done", "w").close()
            time.sleep(60)
        """
    )
    home.start(buffer=1 << 20)
    subscriber.until(lambda: subscriber.items)
    (home.directory / "go").touch()
    end = time.monotonic() + WITHIN
    while not (home.directory / "done").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    subscriber.until(lambda: subscriber.items[-1].n == 20_001)
    numbers = [item.n for item in subscriber.items]
    assert numbers == sorted(set(numbers))
    assert subscriber.lost
    assert len(numbers) + sum(last - first + 1 for first, last in subscriber.lost) == 20_001


def test_data_that_cannot_be_encoded_is_refused_where_it_is_published(
    home: FeedHome, subscriber: Subscriber
) -> None:
    home.write(
        """
        import time
        from neverblink.worker.feeds.feed import FeedError

        def f(feed):
            for wrong in (lambda: feed.publish(object()), lambda: feed.publish("x" * 2_000_000),
                          lambda: feed.publish(1, resume="x" * 5000)):
                try:
                    wrong()
                except FeedError as problem:
                    feed.publish(problem.message)
            time.sleep(60)
        """
    )
    home.start()
    subscriber.until(lambda: len(subscriber.items) == 3)
    cannot, large, resume = subscriber.data
    assert "feed 'f'" in cannot
    assert "buffer" in large
    assert "4,096" in resume


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def f(feed): pass", "returned"),
        ("def f(feed): raise RuntimeError('no key')", "no key"),
        ("async def f(feed): raise SystemExit(3)", "ended itself"),
    ],
)
def test_a_function_that_ends_fails_the_process_and_says_why(home: FeedHome, code: str, says: str) -> None:
    home.write(code)
    process, said = home.start()
    assert said == "ready"
    assert process.wait(WITHIN) == 1
    assert says in home.log.read_text()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("g = 1", "has no f"),
        ("f = 1", "expected a function"),
        ("def f(): pass", "one argument"),
        ("def f(feed): yield 1", "publish"),
        ("import nosuch", "nosuch"),
        ("raise SystemExit(1)", "SystemExit"),
    ],
)
def test_a_function_that_cannot_run_as_a_feed_is_named_before_anything_is_connected(
    home: FeedHome, monkeypatch: pytest.MonkeyPatch, code: str, says: str
) -> None:
    home.write(code)
    process, said = home.start()
    assert says in said
    assert process.wait(WITHIN) == 1
    monkeypatch.chdir(home.directory)
    monkeypatch.syspath_prepend(str(home.directory))  # pyright: ignore[reportUnknownMemberType]
    sys.modules.pop("source", None)
    assert says in check_function("source:f")
    sys.modules.pop("source", None)


def _asks(home: FeedHome, key: bytes) -> Any:
    connection = socket.socket(socket.AF_UNIX)
    end = time.monotonic() + WITHIN
    while True:
        try:
            connection.connect(str(home.directory / "feed-f.sock"))
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.01)
    with connection:
        connection.sendall(framed(subscriber_codec.encode(FeedWatch(key))))
        stream = FeedStream()
        while not (messages := stream.feed(connection.recv(65536))):
            pass
    return feed_codec.decode(messages[0])


def test_a_feed_answers_only_who_has_its_key(home: FeedHome) -> None:
    home.write(COUNTS)
    process, _ = home.start()
    assert isinstance(_asks(home, b"x" * 32), FeedDeclined)
    report = _asks(home, KEY)
    assert isinstance(report, FeedReport)
    assert (report.feed, report.pid, report.release) == ("f", process.pid, "r1")


def test_a_feed_listens_again_when_the_file_of_its_socket_is_removed(home: FeedHome) -> None:
    home.write(COUNTS)
    home.start()
    _asks(home, KEY)
    (home.directory / "feed-f.sock").unlink()
    assert isinstance(_asks(home, KEY), FeedReport)


def test_no_second_process_becomes_the_feed_when_its_file_is_removed(home: FeedHome) -> None:
    home.write(COUNTS)
    first, _ = home.start()
    _asks(home, KEY)
    file = home.directory / "f"
    file.unlink()
    end = time.monotonic() + WITHIN
    while not (file.exists() and decode_feed_file(file.read_bytes())):
        assert time.monotonic() < end
        time.sleep(0.01)
    second, said = home.start()
    assert said == "ready"
    assert _asks(home, KEY).pid == first.pid
    first.terminate()
    assert first.wait(WITHIN) == 0
    end = time.monotonic() + WITHIN
    while _asks(home, KEY).pid != second.pid:
        assert time.monotonic() < end


def test_a_process_whose_supervisor_has_died_does_not_take_over(home: FeedHome) -> None:
    """It waits for the lock, and its parent ends."""
    home.write(COUNTS)
    first, _ = home.start()
    _asks(home, KEY)
    script = (
        "import sys; sys.path.insert(0, sys.argv[2]); from tests.worker.feeds.test_process import FeedHome;"
        "from pathlib import Path; home = FeedHome(Path(sys.argv[1])); process, said = home.start();"
        "print(process.pid, said, flush=True); import os; os._exit(0)"
    )
    root = str(Path(__file__).resolve().parents[3])
    told = subprocess.run(
        [sys.executable, "-c", script, str(home.directory), root], capture_output=True, text=True, cwd=root
    ).stdout.split()
    wait_for_end(int(told[0]), WITHIN)
    assert first.poll() is None
    first.send_signal(signal.SIGTERM)
    assert first.wait(WITHIN) == 0
