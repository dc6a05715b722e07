"""The author's guide says what the code does: its bots run, its tests pass, and nothing public is left out."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import neverblink.worker
from neverblink.worker import Tick, Worker
from neverblink.worker.join import Loop
from neverblink.worker.testing import Simulation

from ..worker.standalone_process import LOOPING, StandaloneProcess

DOCS = Path(__file__).resolve().parents[2] / "docs"
FIRST = (DOCS / "authors.md").read_text(encoding="utf-8")
PAGES = {
    page: (DOCS / "authors" / page).read_text(encoding="utf-8")
    for page in re.findall(r"^\d+\. \[.+?\]\(authors/([\w-]+\.md)\)", FIRST, re.MULTILINE)
}
"""The pages of the guide after the first one, in the order in which that one lists them."""
GUIDE = "\n".join([FIRST, *PAGES.values()])
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)

OUTSIDE = """
class Exchange:
    def buy(self, market, id):
        return 1.0

    def flatten(self):
        print("flattened", flush=True)


def connect():
    print("connected", flush=True)
    return Exchange()


def connect_to_fills(on_fill):
    on_fill("fill-1", Fill("BTC", 2.0))
"""
"""What the guide's bots talk to, and does not show."""


def _module() -> ModuleType:
    """All blocks, one after another, as one module: migrations are found in the module of a class."""
    module = ModuleType("authors_guide")
    sys.modules[module.__name__] = module
    exec(OUTSIDE, vars(module))
    for number, block in enumerate(BLOCKS, 1):
        exec(compile(block, f"the author's guide, block {number}", "exec", dont_inherit=True), vars(module))
    return module


MODULE = _module()
NAMES: dict[str, Any] = {name: value for name, value in vars(MODULE).items() if not name.startswith("_")}
BOTS: list[type[Worker[Any]]] = [
    value
    for value in NAMES.values()
    if isinstance(value, type) and issubclass(value, Worker) and value is not Worker
]
TESTS: list[Callable[[], None]] = [value for name, value in NAMES.items() if name.startswith("test_")]


def _table(heading: str) -> str:
    return GUIDE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__)
def test_the_tests_in_the_guide_pass(test: Callable[[], None]) -> None:
    test()


def pass_time(simulation: Simulation[Any], bot: type[Worker[Any]]) -> None:
    """Five ticks, or as long without ticks."""
    if bot.tick is None:
        simulation.advance("5s")
    else:
        simulation.ticks(5)


@pytest.mark.parametrize("bot", BOTS, ids=lambda bot: bot.__name__)
def test_the_bots_in_the_guide_run_and_can_be_handed_over(bot: type[Worker[Any]]) -> None:
    new = type(f"New{bot.__name__}", (bot,), {"__module__": bot.__module__})
    with Simulation(bot, at=datetime(2026, 1, 5, 12, 0, 5, tzinfo=UTC)) as simulation:
        pass_time(simulation, bot)
        assert simulation.hand_over(new) == "newest"
        pass_time(simulation, bot)
        assert simulation.rolled_back == ""
        assert type(simulation.leader) is new


def test_the_loop_in_the_guide_runs_alone_and_flattens_on_an_interrupt(tmp_path: Path) -> None:
    text = "\n".join([OUTSIDE, *BLOCKS]).replace("__main__", "elsewhere")
    with StandaloneProcess(tmp_path, text + LOOPING + "main()\n") as loop:
        loop.wait_for("connected")
        loop.wait_for("looping")
        ended = loop.interrupt()
    assert (ended.status, ended.output) == (0, "flattened\n"), ended.errors


def test_every_handler_is_documented() -> None:
    documented = set(re.findall(r"^\| `(on_\w+)", _table("handler"), re.MULTILINE))
    assert documented == {"on_start"} | {name for name in vars(Worker) if name.startswith("on_")}


def test_every_method_of_a_simulation_is_documented() -> None:
    documented = set(
        re.findall(r"`(\w+)", "".join(row.split("|")[1] for row in _table("method").splitlines()[2:]))
    )
    public = {name for name in vars(Simulation) if not name.startswith("_")} | {"rolled_back"}
    assert public - documented <= {"close"}


def test_every_field_of_a_tick_is_documented() -> None:
    documented = {*re.findall(r"`(?:tick\.)?(\w+)", GUIDE)} | {*re.findall(r"tick\.(\w+)", GUIDE)}
    assert {*Tick.__struct_fields__, "windows", "window"} - {"open_windows"} <= documented


@pytest.mark.parametrize("public", [Worker, Loop])
def test_every_member_of_worker_and_loop_is_documented(public: type[Any]) -> None:
    for name in vars(public):
        if not name.startswith("_") and name not in ("raised", "returned"):
            assert re.search(rf"\b{name}\b", GUIDE), name


def test_every_public_name_is_documented() -> None:
    for name in set(neverblink.worker.__all__) - {"Decision", "Event", "InDoubt", "Timer"}:
        assert re.search(rf"\b{name}\b", GUIDE), name


def test_the_first_page_lists_every_page_of_the_guide() -> None:
    assert set(PAGES) == {path.name for path in (DOCS / "authors").glob("*.md")}


@pytest.mark.parametrize("page", ["authors.md", *PAGES])
def test_the_contents_of_a_page_link_to_all_its_headings(page: str) -> None:
    text = PAGES.get(page, FIRST)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    links = re.findall(r"^- \[(.+?)\]\(#(.+?)\)$", text, re.MULTILINE)
    if len(headings) > 1 or links:
        assert links == [
            (heading, re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")) for heading in headings
        ]
