"""`python -m neverblink.worker MODULE:NAME` is what the supervisor starts.

`--check` only checks the bot, `--alone` runs it without a supervisor, and `--shell` opens a prompt with it.
"""

from __future__ import annotations

import sys

import msgspec

from ..protocol.errors import NeverblinkError
from .check import check
from .io.output import report
from .main import run_assigned


def main(arguments: list[str]) -> int:
    match arguments:
        case ["--check", target]:
            found = check(target)
            print(msgspec.json.encode(found).decode(), flush=True)
            return 0 if found.ok else 1
        case ["--alone", target]:
            # Imported only here: a worker, which starts in each deployment, needs neither of them.
            from .alone import run_by_name

            return run_by_name(target)
        case ["--shell", target, *command] if len(command) < 2:
            from .shell import open_shell

            return open_shell(target, next(iter(command), None))
        case [target] if not target.startswith("-"):
            try:
                return run_assigned(target)
            except NeverblinkError as problem:
                report(f"neverblink: {problem.message}")
                return 1
        case _:
            report("usage: python -m neverblink.worker [--check | --alone | --shell] MODULE:NAME")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
