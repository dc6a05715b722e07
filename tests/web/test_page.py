"""The page in a real browser: what somebody sees and does on it, in front of a bot that is alive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.whole.bots import bot
from tests.whole.live import Live

from .browser import Page, chromium, expect, faults, log_in, open_page, picture
from .served import Served

SOURCE = bot(
    """
    settings = Limits()
    windows = [Window("5m", opens="-1s", closes="-0s", protected=False)]

    def on_tick(self, tick):
        self.state.ticks += 1
        say(f"tick {tick.seq}")

    def on_halt(self):
        say("flat")
        return "flat"
    """,
    tick="50ms",
    first="""
    from typing import Annotated

    class Limits(msgspec.Struct, frozen=True):
        max_position: Annotated[int, msgspec.Meta(ge=0, le=100, description="contracts")] = 5
        fast: bool = False
        mode: str = "calm"
    """,
)


@pytest.fixture(scope="module")
def shown(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A bot with settings, and a second release that is kept."""
    live = Live(tmp_path_factory.mktemp("shown"))
    try:
        here = Served(live)
        here.up(here.code("v1", SOURCE, probation="2s"))
        second = here.code("v2", SOURCE + "\n# calmer exits\n", probation="2s")
        here.do("deploy", path=str(second), dry_run=True, wait=True)
        yield here
    finally:
        live.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def data(page: Page, name: str) -> int:
    return int(page.evaluate(f"document.querySelector('#strip').dataset.{name}"))


def test_a_bot_is_watched_deployed_paused_set_rolled_back_and_halted_on_the_page(
    shown: Served, browser: Any
) -> None:
    with open_page(browser, 1280, 900, "light") as (page, complaints):
        log_in(page, shown.url, shown.tokens["operator"])
        first = data(page, "ticks")
        expect(page, f"document.querySelector('#strip').dataset.ticks > {first + 5}")
        assert faults(page) == []

        # deploy what is kept, and see it happen
        release = page.locator("#controls select").first
        other = page.evaluate(
            "[...document.querySelector('#controls select').options].find(o => !o.text.includes('(leads)')).value"
        )
        release.select_option(other)
        page.get_by_label("Why (for the history)").fill("calmer exits")
        page.get_by_role("button", name="Deploy", exact=True).click()
        expect(page, "document.querySelector('[data-phase=probation]')")
        picture(page, "desk-light-probation")
        expect(page, "document.querySelector('#deployment').dataset.outcome === 'done'")
        phases = page.evaluate("[...document.querySelectorAll('[data-phase]')].map(e => e.dataset.phase)")
        assert "probation" in phases
        # both leaders are in the strip, and between them is no hole
        expect(page, "document.querySelector('#strip').dataset.epochs > 1")
        assert data(page, "missed") <= shown.live.audit()["missed"]

        # pause and resume
        page.get_by_role("button", name="Pause").click()
        expect(page, "document.querySelector('.top .pill').textContent === 'paused'")
        page.get_by_role("button", name="Resume").click()
        expect(page, "document.querySelector('.top .pill').textContent === 'running'")

        # a setting that does not fit is refused, and one that fits is changed
        page.get_by_label("max_position").fill("7")
        page.get_by_label("fast").check()
        page.get_by_role("button", name="Change settings").click()
        expect(
            page,
            "document.querySelector('#controls [role=status]').textContent.includes('max_position 5 → 7')",
        )
        assert shown.get("/api/settings")["values"] == {"max_position": 7, "fast": True, "mode": "calm"}

        # roll back
        page.get_by_role("button", name="Roll back").click()
        expect(page, "document.querySelector('#deployment').dataset.number === '3'")
        expect(page, "document.querySelector('#deployment').dataset.outcome === 'done'")
        expect(page, "document.querySelector('#strip').dataset.epochs > 2")
        # settings went along
        assert shown.get("/api/settings")["values"]["max_position"] == 7

        # halt, with the bot's name
        page.get_by_role("button", name="Halt…").click()
        go = page.get_by_role("button", name="Halt it")
        assert go.is_disabled()
        page.get_by_label("Type fox to confirm").fill("fix")
        assert go.is_disabled()
        page.get_by_label("Type fox to confirm").fill("fox")
        assert faults(page) == []
        go.click()
        expect(
            page, "document.querySelector('#controls [role=status]').textContent.startsWith('Halted at tick')"
        )
        shown.live.says("flat")

        # what was done is in the past
        page.get_by_role("tab", name="Commands").click()
        expect(page, "document.querySelector('#panel-commands').textContent.includes('halt')")
        page.get_by_role("tab", name="Log").click()
        expect(page, "document.querySelector('#panel-log').textContent.includes('deployment 3')")
        page.get_by_label("Filter what is shown").fill("deployment 3")
        expect(
            page,
            "![...document.querySelectorAll('#panel-log p')].some(p => !p.textContent.includes('deployment 3'))",
        )
        picture(page, "desk-light")
        assert complaints == []
    done = [one["op"] for one in shown.get("/api/audit?limit=50")["commands"]]
    assert done[::-1] == ["deploy", "deploy", "pause", "resume", "settings", "rollback", "halt"]
    shown.live.audit()


def test_it_fits_a_phone_and_the_dark(shown: Served, browser: Any) -> None:
    with open_page(browser, 390, 844, "dark") as (page, complaints):
        log_in(page, shown.url, shown.tokens["viewer"])
        # A viewer is shown everything, and can press nothing.
        assert page.get_by_role("button", name="Deploy", exact=True).is_disabled()
        for width, height, scheme, name in (
            (390, 844, "dark", "phone-dark"),
            (390, 844, "light", "phone-light"),
            (1280, 900, "dark", "desk-dark"),
        ):
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            )
            assert faults(page) == []
            picture(page, name)
        assert complaints == []


def test_the_operations_can_be_read_and_tried(shown: Served, browser: Any) -> None:
    with open_page(browser, 1280, 900, "light") as (page, complaints):
        page.goto(shown.url + "/docs")
        page.get_by_label("Your token, to try with").fill(shown.tokens["viewer"])
        page.get_by_text("GET /api/me").click()
        page.locator("details[open]").get_by_role("button", name="Try it").click()
        expect(page, "document.querySelector('details[open] pre').textContent.includes('a-viewer')")
        assert faults(page) == []
        picture(page, "docs")
        assert complaints == []
        # and the check is one that can fail
        page.evaluate("document.querySelector('summary').innerHTML = '<img src=\"/static/icon.svg\">'")
        assert any("image-alt" in fault for fault in faults(page))


def test_what_a_bot_says_is_text_and_never_markup(shown: Served, browser: Any) -> None:
    evil = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    shown.do("lock", why=evil)
    try:
        with open_page(browser, 1280, 900, "light") as (page, complaints):
            log_in(page, shown.url, shown.tokens["operator"])
            expect(page, f"document.querySelector('#now').textContent.includes({json.dumps(evil)})")
            page.get_by_role("tab", name="Commands").click()
            expect(
                page, f"document.querySelector('#panel-commands').textContent.includes({json.dumps(evil)})"
            )
            assert page.evaluate("document.querySelectorAll('#app img, #app script').length") == 0
            assert page.title() != "owned"
            assert complaints == []
    finally:
        shown.do("unlock")
