"""`python -m neverblink.supervisor.web SETTINGS`: started by the supervisor, and gone with it.

Standard input is a pipe that the supervisor holds open for as long as it lives; its end is the word to leave, and
cannot fail to come, however the supervisor ended.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from ..store.state_dir import Home
from ..system.helper_main import run_helper
from ..system.streams import complete_streams
from .web_process import WebProcessSettings

__all__ = ["main"]


def main() -> int:
    complete_streams()
    told = msgspec.json.decode(sys.argv[1], type=WebProcessSettings)
    from .server import CannotListen, serve

    home = Home(Path(told.home))
    try:
        run_helper(lambda until: serve(home, told.bot, told.settings, told.version, until, told.log))
    except CannotListen as problem:
        print(problem.message, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
