"""The demo as a whole. That it succeeds is what CI runs it for; here, that it leaves nothing behind when cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ..matrix import cases

PATIENCE = 60


@pytest.mark.parametrize("number", cases([signal.SIGINT, signal.SIGTERM], signal.SIGINT))
def test_a_demo_that_is_interrupted_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "NO_COLOR": "1"}
    demo = subprocess.Popen(
        [sys.executable, "-m", "neverblink.supervisor.cli", "demo", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert demo.stderr is not None
    # The first deployment has begun: by now there are an exchange, a supervisor, two workers and a running command.
    for line in demo.stderr:
        if "spawned" in line:
            break
    family = psutil.Process(demo.pid).children(recursive=True)
    assert len(family) >= 5, family
    assert list(tmp_path.iterdir())
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 130, errors
    assert "interrupted" in errors
    _, left = psutil.wait_procs(family, timeout=10)
    assert left == []
    assert list(tmp_path.iterdir()) == []
