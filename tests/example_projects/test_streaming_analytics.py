"""The analytics engine: after deployments, a rollback and deaths its model is the one that learned in one process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..whole.live import Live
from .example import Example, copy, own_tests

REPLAY = """
import json, sys
from model import Model

model, found = Model(), []
for line in open("record.jsonl"):
    quote = json.loads(line)
    if quote["what"] == "quote" and quote["n"] <= int(sys.argv[1]):
        venues = {name: quote[name] for name in "abc"}
        kind, expected = model.take(quote["n"], venues, quote["future"], 6.0)
        if kind:
            found.append({"n": quote["n"], "kind": kind, "future": quote["future"], "expected": expected})
print(json.dumps([{"n": model.n, "error": model.error, **model.weights}, found]))
"""


@pytest.mark.deep
def test_the_examples_own_tests_pass(river: str, tmp_path: Path) -> None:
    own_tests(copy("streaming-analytics", tmp_path / "project", river), river)


@pytest.mark.deep
def test_the_model_and_the_findings_are_those_of_one_process(
    live: Live, start_example: Callable[..., Example], river: str
) -> None:
    example = start_example("streaming-analytics", "--rate", "200", python=river)

    def quotes(more: int) -> None:
        """Wait until so many more quotes have been learned."""
        n = example.ask("weights")["n"] + more
        example.until(lambda: example.ask("weights")["n"] >= n)

    example.up()
    quotes(300)
    example.edit("bot.py", "SUMMARIES = (100, 1_000)", "SUMMARIES = (100, 500)")
    example.deploy()
    quotes(300)
    live.ask("rollback", wait=True)
    quotes(300)
    example.kill(standby=False)
    quotes(300)
    example.deploy()
    example.kill_feed("quotes")
    example.kill(standby=False)
    quotes(900)

    model, findings = example.ask("weights"), example.ask("findings", newest=1_000)
    shown: Any = live.run("state", "show", "model", "--json").json
    live.down()
    example.close_market()
    assert "weights" in json.dumps(shown)
    again = subprocess.run(
        [river, "-c", REPLAY, str(model["n"])], cwd=example.place, capture_output=True, text=True, check=True
    )
    expected, found = json.loads(again.stdout)
    assert model == expected
    assert [finding for finding in findings if finding["n"] <= model["n"]] == found
    spikes = {spike["n"] for spike in example.recorded("spike") if 300 < spike["n"] <= model["n"]}
    assert spikes & {finding["n"] for finding in found}
    assert live.printed("the")  # after its deaths it learned from the window
    report = live.audit()
    assert report["doubled"] == 0, report
