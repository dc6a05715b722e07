"""The tests are about real time, also when they run as the check of a bot that is tried with a faster clock."""

import os

os.environ.pop("SPEEDUP", None)
