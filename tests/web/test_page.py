"""The page in a real browser, with a live bot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
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


def test_the_page_can_deploy_pause_change_settings_roll_back_and_halt(shown: Served, browser: Any) -> None:
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
        # the page shows what is possible meanwhile, and its effect
        expect(page, "document.querySelector('#deploy-note').textContent.includes('is prepared meanwhile')")
        assert page.get_by_role("button", name="Deploy", exact=True).is_enabled()
        picture(page, "desk-light-probation")
        expect(page, "document.querySelector('#deployment').dataset.outcome === 'done'")
        expect(page, "document.querySelector('#deploy-note').hidden")
        # in words that need no glossary
        steps = page.locator("#deployment .steps").inner_text()
        assert "Handed over to w" in steps
        assert "First tick, " in steps
        assert not [name for name in ("first-tick", "handed to", "ready on_start") if name in steps]
        phases = page.evaluate("[...document.querySelectorAll('[data-phase]')].map(e => e.dataset.phase)")
        assert "probation" in phases
        # both leaders are in the strip, without a gap between them
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
        go = page.get_by_role("button", name="Halt bot")
        assert go.is_disabled()
        page.get_by_label("Type fox to confirm").fill("fix")
        assert go.is_disabled()
        page.get_by_label("Type fox to confirm").fill("fox")
        assert faults(page) == []
        go.click()
        expect(
            page, "document.querySelector('#controls [role=status]').textContent.startsWith('Halted at tick')"
        )
        shown.live.prints("flat")

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
    done = [command["op"] for command in shown.get("/api/audit?limit=50")["commands"]]
    assert done[::-1] == ["deploy", "deploy", "pause", "resume", "settings", "rollback", "halt"]
    shown.live.audit()


def test_the_page_fits_a_phone_and_a_dark_theme(shown: Served, browser: Any) -> None:
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


def test_the_page_says_why_a_deployment_is_not_possible(shown: Served, browser: Any) -> None:
    with open_page(browser, 1280, 900, "light") as (page, complaints):
        log_in(page, shown.url, shown.tokens["operator"])
        shown.do("lock", why="release freeze")
        try:
            expect(
                page,
                "document.querySelector('#deploy-note').textContent.endsWith('a-operator (token): release freeze')",
            )
            assert page.get_by_role("button", name="Deploy", exact=True).is_disabled()
        finally:
            shown.do("unlock")
        expect(page, "document.querySelector('#deploy-note').hidden")

        def room(**status: Any) -> Any:
            return page.evaluate(
                "async (status) => (await import('/static/js/controls.js')).room(status)",
                {"deployment": None, "probation": None, "lock": None, **status},
            )

        first = {"deployment": 4, "phase": "rehearsing"}
        proven = {"deployment": 4, "phase": "probation"}
        second = {"deployment": 5, "phase": "prepared"}
        assert room() == {"deploy": True, "rollback": True, "words": ""}
        busy = room(deployment=first)
        assert (busy["deploy"], busy["rollback"]) == (False, False)
        assert (
            "Deployment 4 is under way (rehearsing): the next can begin during its probation" in busy["words"]
        )
        in_probation = room(deployment=proven)
        assert (in_probation["deploy"], in_probation["rollback"]) == (True, True)
        # A rollback is about the one in its probation, whatever prepares behind it.
        full = room(deployment=second, probation=proven)
        assert (full["deploy"], full["rollback"]) == (False, True)
        assert "Deployment 5 is under way (prepared): deployment 4 is in its probation" in full["words"]
        assert complaints == []


def test_each_leader_in_the_legend_has_its_own_colour(shown: Served, browser: Any) -> None:
    with open_page(browser, 1280, 900, "light") as (page, complaints):
        log_in(page, shown.url, shown.tokens["viewer"])
        legend = page.evaluate(
            """async () => {
                const {strip} = await import('/static/js/strip.js');
                const one = strip();
                document.querySelector('main').replaceChildren(one.element);
                const epochs = [1, 2, 3, 5, 6, 7, 8, 9, 10, 11];
                const at = (epoch) => (1795533000 + epoch) * 1e9;
                one.begin({
                    ticks: epochs.map((epoch) => [epoch, 1, at(epoch), 1000, 1000, epoch, 0, 0]),
                    leads: epochs.map((epoch) => ({epoch, worker: `w${epoch}`, at: at(epoch)})),
                });
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                return [...one.element.querySelectorAll('.legend li')].map((item) => [
                    item.textContent,
                    item.firstElementChild ? getComputedStyle(item.firstElementChild).backgroundColor : '',
                ]);
            }"""
        )
        assert [words.partition(",")[0] for words, _ in legend] == [
            "3 before these", "w5", "w6", "w7", "w8", "w9", "w10", "w11",
        ]  # fmt: skip
        assert "epoch 11, since " in legend[-1][0]
        colours = [colour for _, colour in legend[1:]]
        assert len(set(colours)) == len(colours)
        assert complaints == []


def test_the_page_names_failing_notification_targets(shown: Served, browser: Any) -> None:
    failing = {
        "name": "phone", "scheme": "tgram", "state": "failing", "reason": "Connection refused",
        "since": 1795533000 * 10**9, "waiting": 2, "sent": 0, "lost": 1,
    }  # fmt: skip
    with open_page(browser, 1280, 900, "light") as (page, complaints):
        log_in(page, shown.url, shown.tokens["viewer"])
        result = page.evaluate(
            """async (failing) => {
                const {get} = await import('/static/js/api.js');
                const {now} = await import('/static/js/now.js');
                const one = now();
                const notify = [failing, {...failing, name: 'laptop', state: 'ready'}];
                one.show({...(await get('/api/status')), notify});
                return [...one.element.querySelectorAll('.notice')].map((notice) => notice.textContent);
            }""",
            failing,
        )
        assert [text for text in result if 'Notifications to "phone" have failed since ' in text]
        assert [text for text in result if text.endswith(": Connection refused (2 waiting, 1 lost)")]
        assert not [text for text in result if "laptop" in text]
        assert complaints == []


def test_the_docs_page_lists_and_tries_operations(shown: Served, browser: Any) -> None:
    with open_page(browser, 1280, 900, "light") as (page, complaints):
        page.goto(shown.url + "/docs")
        page.get_by_label("Token for requests").fill(shown.tokens["viewer"])
        page.get_by_text("GET /api/me").click()
        page.locator("details[open]").get_by_role("button", name="Try it").click()
        expect(page, "document.querySelector('details[open] pre').textContent.includes('a-viewer')")
        assert faults(page) == []
        picture(page, "docs")
        assert complaints == []
        # and the check is one that can fail
        page.evaluate("document.querySelector('summary').innerHTML = '<img src=\"/static/icon.svg\">'")
        assert any("image-alt" in fault for fault in faults(page))


def test_output_of_the_bot_is_shown_as_text_never_as_markup(shown: Served, browser: Any) -> None:
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


def test_the_page_shows_the_state_now_and_at_an_earlier_point(shown: Served, browser: Any) -> None:
    with open_page(browser, 1280, 900, "light") as (page, complaints):
        log_in(page, shown.url, shown.tokens["viewer"])
        point = shown.get("/api/state", role="viewer")["point"]["number"]
        page.get_by_role("button", name="Show the state").click()
        expect(page, "document.querySelector('#state tbody')?.textContent.includes('ticks')")
        page.locator("#state").get_by_label("At", exact=True).fill(f"frame:{point}")
        page.locator("#state").get_by_role("button", name="ticks").click()
        expect(
            page, f"document.querySelector('#state [role=status]').textContent.includes('(frame {point})')"
        )
        assert int(page.locator("#state pre").inner_text()) > 0
        page.locator("#state").get_by_label("Path").fill("tick")
        page.get_by_role("button", name="Show the state").click()
        expect(
            page, "document.querySelector('#state [role=status]').textContent.includes('did you mean ticks?')"
        )
        assert faults(page) == []
        # The browser itself reports that an answer was not 2xx.
        assert all("404" in complaint for complaint in complaints)


def test_the_page_shows_what_a_deployment_would_drop_and_drops_it_only_when_each_field_is_ticked(
    browser: Any, tmp_path: Path
) -> None:
    live = Live(tmp_path)
    try:
        here = Served(live)
        source = SOURCE.replace("ticks: int = 0", "ticks: int = 0\n    spread: float = 0.0")
        here.up(here.code("v1", source))
        live.ticks_on()
        live.ask("state-set", path="spread", value=12.5, confirm="fox")
        renamed = here.code("v2", source.replace("ticks", "turns").replace("spread", "width"))
        with open_page(browser, 1280, 900, "light") as (page, _):
            log_in(page, here.url, here.tokens["viewer"])
            refused = live.run("deploy", renamed, "--json")
            assert refused.code == 9, refused
            expect(page, "document.querySelector('#deployment').dataset.outcome === 'aborted'")
            assert not page.locator("[data-do=drop]").is_visible(), "a viewer is offered a deployment"

        with open_page(browser, 1280, 900, "light") as (page, complaints):
            log_in(page, here.url, here.tokens["operator"])
            expect(page, "document.querySelector('#deployment').dataset.outcome === 'aborted'")
            assert "State: drops ticks = " in page.locator("#deployment .steps").inner_text()
            assert "--drop ticks" in page.locator("#deployment").inner_text()

            offer = page.get_by_role("button", name="Deploy and drop values…")
            offer.click()
            expect(page, "document.querySelectorAll('dialog input').length === 2")
            dialog = page.get_by_role("dialog")
            go = dialog.get_by_role("button", name="Deploy and drop", exact=True)
            boxes = dialog.get_by_role("checkbox")
            assert [box.is_checked() for box in boxes.all()] == [False, False]
            assert faults(page) == []
            picture(page, "desk-light-drop")
            dialog.get_by_label("Drop ticks = ").check()
            assert go.is_disabled(), "a field is dropped that was not ticked"
            dialog.get_by_label("Drop spread = 12.5").check()
            dialog.get_by_role("button", name="Cancel").click()
            expect(page, "!document.querySelector('dialog')")
            assert page.locator("#deployment").get_attribute("data-number") == "1"

            offer.click()
            expect(page, "document.querySelectorAll('dialog input').length === 2")
            for box in boxes.all():
                box.check()
            go.click()
            expect(page, "document.querySelector('#deployment').dataset.number === '2'")
            expect(page, "document.querySelector('#deployment').dataset.outcome === 'done'")
            assert not offer.is_visible()
            assert live.ask("state", path="width")["value"] == 0.0
            assert complaints == []
    finally:
        live.close()
