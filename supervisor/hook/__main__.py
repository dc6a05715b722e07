"""`python -m neverblink.supervisor.hook post-receive`: what the script in the repository's hooks runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..system.streams import complete_streams
from ..system.text import clean
from .receive import receive
from .tidy_up import tidy_up

# The pusher may hang up; the deployment goes on.
complete_streams()
if sys.argv[1] == "pre-auto-gc":
    sys.exit(tidy_up(Path.cwd()))
said = {name: clean(value) for name, value in os.environ.items()}
sys.exit(receive(sys.argv[1], sys.stdin.buffer.read(), Path.cwd(), said, sys.stdout))
