"""Only `bin/test --frameworks` runs the tests of the packages: each needs an environment of its own."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("NEVERBLINK_FRAMEWORKS") else ["*/test_*.py"]
