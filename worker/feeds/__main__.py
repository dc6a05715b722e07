"""`python -m neverblink.worker.feeds` is what a supervisor starts for a feed; `--check` only imports its function."""

from __future__ import annotations

import sys

import msgspec

from ...protocol.errors import NeverblinkError
from ..io.output import report
from .process import check_function, run_feed


def main(arguments: list[str]) -> int:
    match arguments:
        case ["--check", target]:
            problem = check_function(target)
            print(msgspec.json.encode({"ok": not problem, "problem": problem}).decode(), flush=True)
            return 1 if problem else 0
        case []:
            try:
                return run_feed()
            except NeverblinkError as problem:
                report(f"neverblink: {problem.message}")
                return 1
        case _:
            report("usage: python -m neverblink.worker.feeds [--check MODULE:FUNCTION]")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
