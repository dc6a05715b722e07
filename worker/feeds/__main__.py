"""`python -m neverblink.worker.feeds` is what a supervisor starts for each feed."""

from __future__ import annotations

import sys

from ...protocol.errors import NeverblinkError
from ..io.output import report
from .process import run_feed


def main() -> int:
    try:
        return run_feed()
    except NeverblinkError as problem:
        report(f"neverblink: {problem.message}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
