"""The measurement of an HTTP server through handoffs under load, on a small scale."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..whole.live import Live
from .handoffs_under_load import measure


@pytest.mark.deep
def test_no_request_is_refused_in_20_handoffs_under_load(tmp_path: Path) -> None:
    live = Live(tmp_path)
    try:
        measured = measure(live, 20)
    finally:
        live.close()
    assert (measured.refused, measured.cut) == (0, 0), measured
    assert measured.requests > 100
