"""status: what runs, what comes next, and how the last deployment ended, on one screen."""

from __future__ import annotations

import time
from typing import Any

from ...protocol import duration
from ...protocol.commands import Status
from .exits import Exit
from .here import Here
from .screen import Screen, columns
from .verb import Done, verb
from .words import ago, count, last

__all__ = ["picture", "status"]

Facts = dict[str, Any]


@verb
def status(here: Here) -> Done:
    """What runs, what comes next, and how the last deployment ended.

    Ends with exit 8 when the bot is down, so that a watchdog needs nothing else.
    """
    with here.client() as client:
        answer: Facts = client.ask(Status())
    for line in picture(answer, here.screen, time.time_ns()):
        here.screen.line(line)
    return Done(answer, Exit.DOWN if answer.get("state") == "down" else Exit.DONE)


def picture(status: Facts, screen: Screen, now: int) -> list[str]:
    """The lines that show the status `status`, as of wall time `now` (ns)."""
    colour = {"running": screen.good, "paused": screen.warn}.get(status["state"], screen.bad)
    lines = [
        f"{screen.style(status['bot'], bold=True)}  {colour(status['state'])}  {status.get('release') or ''}".rstrip()
    ]
    rows = [
        *_leader(status, now),
        *(("window", line) for line in _windows(status, screen, now)),
        *(
            ("decision", f"{decision['name']} ({decision['id']}), open for {last(now - decision['at'])}")
            for decision in status.get("decisions") or []
        ),
        *_under_way(status.get("deployment"), screen, now),
        *_ended(status.get("last"), screen, now),
        *_lock(status.get("lock"), screen, now),
    ]
    lines += columns([("", f"{title:<10}", text) for title, text in rows])
    return lines + _workers(status.get("workers") or [])


def _leader(status: Facts, now: int) -> list[tuple[str, str]]:
    if not status.get("worker"):
        return [("leader", "none: no worker leads")]
    who = [str(status["worker"]), f"epoch {status['epoch']}"]
    if python := status.get("python"):
        who.append(f"python {python}")
    if since := status.get("since"):
        who.append(f"for {last(max(0, now - since) // 1_000_000_000 * 1_000_000_000)}")
    tick = (
        [f"{status['seq']}, one every {duration.show(status['interval'])}"] if status.get("interval") else []
    )
    tick += [
        f"{count(status.get('ticks') or 0, 'tick')} run by this worker",
        f"{status.get('skipped') or 0} skipped",
    ]
    if late := status.get("late_max"):
        tick.append(f"latest {last(late)} late")
    return [("leader", ", ".join(who)), ("tick", ", ".join(tick))]


def _windows(status: Facts, screen: Screen, now: int) -> list[str]:
    lines: list[str] = []
    for window in status.get("windows") or []:
        if window["opens"] <= now < window["closes"]:
            lines.append(
                f"{window['name']} {screen.warn('is open')}, closes in {last(window['closes'] - now)}"
            )
        else:
            lines.append(f"{window['name']} opens in {last(max(0, window['opens'] - now))}")
        if not window.get("protected", True):
            lines[-1] += " (not protected)"
    return lines


def _under_way(deployment: Facts | None, screen: Screen, now: int) -> list[tuple[str, str]]:
    if not deployment:
        return []
    held = f", held by {deployment['holding']}" if deployment.get("holding") else ""
    since = f", {last(max(0, now - deployment['at']))}" if deployment.get("at") else ""
    what = f"{deployment['deployment']}: {screen.warn(deployment['phase'])}{held}{since}, to {deployment['release']}"
    return [("deploying", what)]


def _ended(last_one: Facts | None, screen: Screen, now: int) -> list[tuple[str, str]]:
    if not last_one:
        return []
    outcome = str(last_one["outcome"])
    colour = screen.good if outcome in ("done", "rehearsed") else screen.bad
    told = f"deployment {last_one['deployment']} {colour(outcome.replace('_', ' '))}"
    if at := last_one.get("at"):
        told += f" {ago(at, now)}"
    if last_one.get("blackout") is not None:
        told += f", at tick {last_one['seq']}, blackout {last(last_one['blackout'])}"
    if outcome not in ("done", "rehearsed") and last_one.get("reason"):
        told += f": {last_one['reason']}"
    return [("last", told)]


def _lock(lock: Facts | None, screen: Screen, now: int) -> list[tuple[str, str]]:
    if not lock:
        return []
    return [
        (
            "locked",
            f"{screen.warn(lock.get('why') or '')}, by {lock.get('who') or 'unknown'} {ago(lock['at'], now)}",
        )
    ]


def _workers(workers: list[Facts]) -> list[str]:
    rows = [
        (
            "  worker   ",
            str(worker["worker"]),
            str(worker["role"]),
            f"pid {worker['pid']}",
            str(worker["release"]),
        )
        for worker in workers
    ]
    return columns(rows)
