"""The measured bot with marks along the path of a handoff: which step began or ended when, on one clock.

A mark costs about a quarter of a microsecond. They are kept in memory and written at the end of the process into the
directory BENCH_MARKS, as lines of `NS NAME`.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beat import Beat  # pyright: ignore[reportMissingImports]

from neverblink.worker.engine import engine, leading, turns
from neverblink.worker.io import final_frame_socket, lease
from neverblink.worker.replication import follower, following

__all__ = ["Beat"]

_marks: list[tuple[int, str]] = []


def _wrap(owner: Any, name: str, before: str, after: str) -> None:
    inner: Callable[..., Any] = getattr(owner, name)
    now, put = time.monotonic_ns, _marks.append

    def marked(*args: Any, **kwargs: Any) -> Any:
        if before:
            put((now(), before))
        found = inner(*args, **kwargs)
        if after:
            put((now(), after))
        return found

    setattr(owner, name, marked)


# Some of them are the worker's own affair and have other names one day: then the figure says which is missing.
_wrap(turns.Turns, "close_epoch", "boundary", "frame made")
_wrap(lease.Lease, "drop", "", "lease dropped")
_wrap(final_frame_socket.socket, "send", "", "sent")
_wrap(following.Following, "receive", "received", "")
_wrap(follower.Follower, "_final", "", "applied")
_wrap(lease.Lease, "take", "", "lease taken")
_wrap(engine, "catch_up", "", "journal attached")
_wrap(leading.Leading, "take_over", "taking over", "able to tick")


@atexit.register
def _write() -> None:
    place = Path(os.environ["BENCH_MARKS"])
    text = "".join(f"{at} {name}\n" for at, name in _marks)
    (place / f"{os.getpid()}.marks").write_text(text, encoding="ascii")
