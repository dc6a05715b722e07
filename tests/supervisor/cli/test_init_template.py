"""What `init` writes runs as it is: its test, its check, each command of its README, without a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neverblink.supervisor.cli.init_template import files, template_files, templates

from ...ports import HOST, free_port

PATIENCE = 60.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for file, text in files("foresight").items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    return tmp_path


def python(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=project, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.deep
def test_the_test_of_the_template_passes(project: Path) -> None:
    ran = python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "6 passed" in ran.stdout


def test_the_bot_of_the_template_passes_check(project: Path) -> None:
    ran = python(project, "-m", "neverblink.worker", "--check", "bot:Starter")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["ok"], found["interval"]) == (True, 1_000_000_000)
    assert [window["name"] for window in found["windows"]] == ["minute"]
    assert found["warnings"] == []


def test_the_template_shows_the_safe_half(project: Path) -> None:
    bot = (project / "bot.py").read_text()
    for shown in (
        "on_lead(self, in_doubt",
        "settings = ",
        "on_halt",
        "while_leading",
        "self.decision",
        "self.paused",
    ):
        assert shown in bot
    config = (project / "neverblink.toml").read_text()
    assert re.search(r"^standby = 1 +# gives: .* Costs: ", config, re.MULTILINE)
    assert re.search(r"^\[web\]", config, re.MULTILINE)
    assert re.search(r"^\[feeds\.prices\]", config, re.MULTILINE)


def commands(readme: Path) -> list[list[str]]:
    """The commands of a README, as they stand."""
    shown = re.findall(r"^    (neverblink [^#\n]*)", readme.read_text(), re.MULTILINE)
    return [line.split()[1:] for line in shown]


def offline(*command: str) -> list[str]:
    """The command in a network of its own that has the loopback interface only, where the system allows it."""
    inside = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up 2>&- ; exec "$@"', "sh"]
    allowed = (
        shutil.which("unshare") and subprocess.run([*inside, "true"], capture_output=True).returncode == 0
    )
    return [*(inside if allowed else []), *command]


@pytest.mark.deep
def test_each_command_of_the_readme_works_as_it_stands_and_without_a_network(project: Path) -> None:
    config = project / "neverblink.toml"
    config.write_text(config.read_text().replace("127.0.0.1:8780", f"{HOST}:{free_port()}"))
    environment = {**os.environ, "UV_NO_CACHE": "1", "NO_COLOR": "1"}
    neverblink = offline(sys.executable, "-m", "neverblink.supervisor.cli")
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        with (project / f"{words[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                [*neverblink, *words], cwd=project, env=environment, stdout=log, stderr=log
            )
        started.append(process)
        return process

    def prints(words: str, text: str) -> None:
        until = time.monotonic() + PATIENCE
        while text not in (log := (project / f"{words}.log").read_text()):
            assert time.monotonic() < until, log
            time.sleep(0.05)

    seen: list[str] = []
    try:
        for words in commands(project / "README.md"):
            seen.append(words[0])
            if words[0] == "run":
                alone = start(*words)
                prints("run", "not live")
                alone.terminate()
                assert alone.wait(PATIENCE) in (0, 1)
            elif words[0] == "up":
                start(*words)
                prints("up", "up: Ctrl-C stops the bot")
            elif words[0] == "logs":
                follows = start(*words)
                follows.terminate()
                follows.wait(PATIENCE)
            else:
                if words[0] == "deploy":
                    bot = project / "bot.py"
                    bot.write_text(bot.read_text() + "\n# changed\n")
                done = subprocess.run(
                    [*neverblink, *words, *(["--yes"] if words[0] == "halt" else [])],
                    cwd=project, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE,
                )  # fmt: skip
                assert done.returncode == 0, (words, done.stdout, done.stderr)
        assert started[1].wait(PATIENCE) == 0
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert {"test", "check", "run", "up", "deploy", "rollback", "halt", "down", "env"} <= set(seen)


@pytest.mark.parametrize(
    "template", ["position-manager", "sniper", "streaming-analytics", "websocket-aggregator"]
)
def test_each_template_is_an_example_with_the_bots_own_name(template: str) -> None:
    assert template in templates()
    written = template_files(template, "My.Bot")
    assert re.search(r'^name = "My\.Bot"$', written["neverblink.toml"], re.MULTILINE)
    assert re.search(r'^name = "my\.bot"$', written["pyproject.toml"], re.MULTILINE)
    assert {"bot.py", "README.md", ".gitignore"} <= set(written)
    assert not [name for name in written if "__pycache__" in name or name.endswith(".pyc")]


def test_the_template_passes_ruff(project: Path) -> None:
    rules = ("--isolated", "--no-cache", "--select", "E,F,I,W,UP", "--line-length", "120")
    ran = python(project, "-m", "ruff", "check", *rules, ".")
    if "No module named ruff" in ran.stderr:
        pytest.skip("no ruff here: it comes with the dev extra")
    assert ran.returncode == 0, ran.stdout
