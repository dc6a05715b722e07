"""The metrics are what Prometheus takes, and the dashboard asks for none that are not there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from neverblink.supervisor.web.metrics import CONTENT_TYPE, Metrics
from neverblink.supervisor.web.ticks import TickSeen

from .served import Served

DASHBOARD = Path(__file__).resolve().parents[2] / "docs" / "grafana.json"


def metrics(text: str) -> dict[str, str]:
    """The type of each."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def test_promtool_accepts_the_metrics(served: Served) -> None:
    answer = served.ask("GET", "/metrics", role="viewer")
    assert answer.headers["Content-Type"] == CONTENT_TYPE
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here: install one (Debian: apt-get install prometheus)")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=answer.body, capture_output=True, check=False, timeout=60
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_dashboard_uses_existing_metrics_only(served: Served) -> None:
    there = metrics(served.ask("GET", "/metrics", role="viewer").body.decode())
    names = set(there)
    for name, kind in there.items():
        if kind == "histogram":
            names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    dashboard: Any = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    used = {name for expression in asked for name in re.findall(r"neverblink_\w+", expression)}
    assert len(asked) >= 10
    assert used <= names, used - names


def test_ticks_are_counted_in_their_bucket_and_labels_are_escaped() -> None:
    counted = Metrics('f"o\\x', "1")
    counted.ticked(
        [TickSeen(7, 1, 0, 250_000, 2_000_000, 1, 0, 3), TickSeen(8, 1, 0, 250_001, 0, 1, 2, 0)], []
    )
    page = counted.render(None, 0)
    bot = 'bot="f\\"o\\\\x"'
    assert f"neverblink_up{{{bot}}} 0.0\n" in page
    assert f'neverblink_tick_late_seconds_bucket{{{bot},le="0.00025"}} 1.0\n' in page
    assert f'neverblink_tick_late_seconds_bucket{{{bot},le="+Inf"}} 2.0\n' in page
    assert f"neverblink_ticks_missed_total{{{bot}}} 3.0\n" in page
