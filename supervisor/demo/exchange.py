"""The exchange: a process of its own that trades, keeps a ledger, and does not know neverblink.

    python -m neverblink.supervisor.demo.exchange --port 0 --home DIR

It listens on 127.0.0.1 and prints its address as one JSON line: `{"url": "http://127.0.0.1:40123", "pid": 4711}`. Its
ledger is DIR/ledger.jsonl. It ends on SIGTERM or SIGINT, and with --with-stdin when its stdin is closed, so that it
cannot outlive its parent. The requests are in `venue`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from aiohttp import web

from ...protocol import duration
from .contracts import TIMEFRAMES
from .ledger import Ledger
from .venue import Stream, Venue

__all__ = ["LEDGER", "main", "serve"]

LEDGER = "ledger.jsonl"
"""The ledger's file in the exchange's home."""

_HOST = "127.0.0.1"


async def serve(venue: Venue, port: int, until: asyncio.Event) -> None:
    """Run the venue on `port` (0: any) until the event is set; print the URL. Raises `OSError` for a port in use."""
    runner = web.AppRunner(venue.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, _HOST, port).start()
        bound: int = runner.addresses[0][1]
        sys.stdout.write(
            msgspec.json.encode({"url": f"http://{_HOST}:{bound}", "pid": os.getpid()}).decode() + "\n"
        )
        sys.stdout.flush()
        await until.wait()
    finally:
        await runner.cleanup()


def main(args: Sequence[str] | None = None) -> int:
    """Run an exchange from the command line; return the exit code."""
    options = _parser().parse_args(args)
    stream = Stream(options.fills_per_second, options.fills_account) if options.fills_per_second else None
    try:
        options.home.mkdir(parents=True, exist_ok=True)
        with open(options.home / LEDGER, "ab") as file:
            venue = Venue(
                Ledger(file), seed=options.seed, timeframes=_timeframes(options.timeframe), stream=stream
            )
            asyncio.run(_run_until_stopped(venue, options.port, options.with_stdin))
    except OSError as problem:
        place = problem.filename or f"port {options.port}"
        sys.stderr.write(f"exchange: {place}: {problem.strerror}; name another with --port or --home\n")
        return 2
    return 0


async def _run_until_stopped(venue: Venue, port: int, with_stdin: bool) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if with_stdin:
        # Nothing is written to it: it becomes readable when the other end is closed, also by a killed process.
        loop.add_reader(sys.stdin.fileno(), ended.set)
    await serve(venue, port, ended)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="exchange", description="A small exchange with its own ledger.")
    parser.add_argument("--port", type=int, default=0, help="0 (default): any that is free")
    parser.add_argument("--home", type=Path, required=True, help="where the ledger goes")
    parser.add_argument("--with-stdin", action="store_true", help="end when stdin, a pipe, is closed")
    parser.add_argument("--seed", type=int, default=1, help="of prices, delays and partial fills")
    parser.add_argument(
        "--timeframe",
        action="append",
        default=[],
        type=_timeframe,
        metavar="NAME=LENGTH",
        help="such as 5m=4s; may be repeated; default: 5m=4s and 15m=12s",
    )
    parser.add_argument(
        "--fills-per-second", type=float, default=0.0, help="make up this many fills, without orders"
    )
    parser.add_argument("--fills-account", default="demo", help="the account that receives them")
    return parser


def _timeframe(text: str) -> tuple[str, int]:
    name, _, length = text.partition("=")
    try:
        period = duration.parse(length)
    except duration.DurationError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None
    if not name or "-" in name or period <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a timeframe: write NAME=LENGTH, such as 5m=4s")
    return name, period


def _timeframes(given: list[tuple[str, int]]) -> Mapping[str, int]:
    return dict(given) or TIMEFRAMES


if __name__ == "__main__":
    sys.exit(main())
