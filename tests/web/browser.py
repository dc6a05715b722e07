"""A real browser: Chromium, driven through playwright. Where there is none, its tests are left out by name."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.whole.live import WITHIN

__all__ = ["SHOTS", "Page", "chromium", "expect", "faults", "log_in", "open_page", "picture"]

Page = Any
"""playwright's: it is not installed everywhere that the types are checked."""

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
SHOTS = Path(__file__).resolve().parents[2] / ".shots"
"""Where the tests leave pictures of what they saw."""

_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium() -> Generator[Any]:
    """The browser, to open pages in."""
    found = next((path for name in _CHROMIUMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: install one (Debian: apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright here: bin/test installs it")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Any, width: int, height: int, scheme: str) -> Generator[tuple[Page, list[str]]]:
    """A page of this size, dark or light, and the list of what it complains of."""
    complaints: list[str] = []

    def heard(message: Any) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def failed(error: Any) -> None:
        complaints.append(str(error))

    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    try:
        page = context.new_page()
        page.set_default_timeout(WITHIN * 1000)
        page.on("console", heard)
        page.on("pageerror", failed)
        yield page, complaints
    finally:
        context.close()


def expect(page: Page, script: str) -> None:
    """Wait until this is so on the page. Our policy keeps playwright's own waiting, which is an `eval`, out of it."""
    until = time.monotonic() + WITHIN
    while not page.evaluate(f"Boolean({script})"):
        assert time.monotonic() < until, f"not so: {script}\n{page.inner_text('body')}"
        page.wait_for_timeout(50)


def log_in(page: Page, url: str, token: str) -> None:
    page.goto(url)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    expect(page, "document.querySelector('#strip')?.dataset.ticks > 5")


def picture(page: Page, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=True)


def faults(page: Page) -> list[str]:
    """What axe finds that is serious or worse, each with the elements it is about."""
    # Through the debugger, as a tester would: the page's own policy lets no script in from elsewhere.
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['html']} {node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
