"""`python -m neverblink.supervisor.hook post-receive`: what the script in the repository's hooks runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .receive import receive

sys.exit(receive(sys.argv[1], sys.stdin.read(), Path.cwd(), os.environ, sys.stdout))
