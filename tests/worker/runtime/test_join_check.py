"""A script that can never join is refused by its source, before it is imported; any other one is not."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from queue import Queue

import pytest

from neverblink.worker.io import start_watch
from neverblink.worker.io.start_watch import StartWatch, place_of
from neverblink.worker.runtime.join_check import never_joins

SCRIPT = "import time\n\ndef main():\n    while True:\n        time.sleep(1)\n"


def project(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        file = tmp_path / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "files",
    [
        {"bot": SCRIPT},
        {"bot": "async def main(): ...\n"},
        {"bot": SCRIPT + "main()\n"},
        {"bot": f"import feeds\n{SCRIPT}", "feeds": "import json, asyncio\n"},
        {"bot": f"from lib import feeds\n{SCRIPT}", "lib/__init__": "", "lib/feeds": "from . import other\n"},
        {"src/bot": SCRIPT},
        {"bot": SCRIPT, "unused": "from neverblink.worker import join\n"},
    ],
)
def test_a_script_whose_modules_do_not_import_neverblink_never_joins(
    tmp_path: Path, files: dict[str, str]
) -> None:
    assert never_joins("bot", "main", project(tmp_path, **files))


@pytest.mark.parametrize(
    "files",
    [
        {"bot": f"from neverblink.worker import join\n{SCRIPT}"},
        {"bot": f"import neverblink.worker as nb\n{SCRIPT}"},
        {"bot": "def main():\n    from neverblink.worker import join\n"},
        {"bot": f"import loops\n{SCRIPT}", "loops": "from neverblink.worker import join\n"},
        {"bot": f"from lib import loops\n{SCRIPT}", "lib/loops": "from neverblink.worker import join\n"},
        {
            "bot": f"from lib.loops import run\n{SCRIPT}",
            "lib/__init__": "",
            "lib/loops": "from .deep import run\n",
            "lib/deep": "from neverblink.worker import join\n",
        },
        {"bot": f"import importlib\nimportlib.import_module('l' + 'oops')\n{SCRIPT}"},
        {"bot": "def main(:\n"},
        {"bot": "class main: ...\n"},
        {"other": SCRIPT},
    ],
)
def test_a_script_that_may_join_is_not_refused(tmp_path: Path, files: dict[str, str]) -> None:
    assert not never_joins("bot", "main", project(tmp_path, **files))


def test_the_line_of_the_projects_own_code_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(
        tmp_path, slow="import time\n\ndef main(over):\n    while not over.is_set():\n        over.wait(1)\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    import slow  # pyright: ignore[reportMissingImports]

    over = threading.Event()
    thread = threading.Thread(target=slow.main, args=(over,))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    thread.start()
    try:
        until = time.monotonic() + 10
        place = ""
        while "over.wait" not in place and time.monotonic() < until:
            assert thread.ident is not None
            place = place_of(sys._current_frames().get(thread.ident), tmp_path)  # pyright: ignore[reportPrivateUsage]
        assert place == "slow.py:5, in main: over.wait(1)"
    finally:
        over.set()
        thread.join()


def test_a_start_that_takes_long_is_logged_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    said: Queue[str] = Queue()
    monkeypatch.setattr(start_watch, "report", said.put)
    watch = StartWatch(first=0.01)
    watch.begin("main has not called join()")
    first, second = said.get(timeout=10), said.get(timeout=10)
    watch.end()
    assert first.startswith("WARNING: neverblink: main has not called join() after 0.01s")
    assert second.startswith("WARNING: neverblink: main has not called join() after 0.02s")
