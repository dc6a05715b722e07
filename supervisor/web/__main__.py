"""`python -m neverblink.supervisor.web SETTINGS`: started by the supervisor, and ends with it.

Standard input is a pipe that the supervisor keeps open while it lives; its end means exit, and comes however the
supervisor ended.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from ..store.state_dir import Home
from ..system.helper_process import run_helper
from ..system.streams import complete_streams
from .web_process import WebProcessSettings

__all__ = ["main"]


def main() -> int:
    complete_streams()
    given = msgspec.json.decode(sys.argv[1], type=WebProcessSettings)
    from .server import CannotListen, serve

    home = Home(Path(given.home))
    try:
        run_helper(lambda until: serve(home, given.bot, given.settings, given.version, until, given.log))
    except CannotListen as problem:
        print(problem.message, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
