"""run, test, shell, env: the project's code without a deployment."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from neverblink.supervisor.store.alone_lock import hold_alone
from neverblink.supervisor.store.state_dir import Home

from .bots import COUNT, COUNTER, bot
from .live import Live

ALONE = bot(
    f"""
    def on_start(self):
        say(f"data {{os.environ['NEVERBLINK_DATA']}}")
        say(f"key {{os.environ.get('EXCHANGE_KEY')}}")
        say(f"in {{os.getcwd()}}")
    def on_stop(self):
        say(f"stopped after {{self.state.ticks}}")
    {COUNT}
    """
)
LOOP = """
from neverblink.worker import join


async def main():
    async for tick in join(dict, tick="10ms"):
        print("tick", flush=True)
"""
PASSING = "import unittest\n\n\nclass Case(unittest.TestCase):\n    def test_it(self):\n        {}\n"


def with_keys(live: Live, source: str) -> Path:
    code = live.code("v0", source)
    (code / "keys.env").write_text("EXCHANGE_KEY=sesame\n")
    (code / "keys.env").chmod(0o600)
    config = code / "neverblink.toml"
    config.write_text('env_file = "keys.env"\n' + config.read_text())
    return code


def plain_python(place: Path) -> Path:
    """A Python without the libraries of this one."""
    python = place / "plain-python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    return python


def on(code: Path, python: Path) -> None:
    config = code / "neverblink.toml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("python")]
    config.write_text("\n".join([f'python = "{python}"', *lines]) + "\n")


def test_run_runs_the_bot_alone_with_its_keys_and_data_until_an_interrupt_ends_it_in_order(
    live: Live,
) -> None:
    code = with_keys(live, ALONE)
    alone = live.start("run", "--project", code)
    alone.prints("not live")
    alone.prints("tick")
    second = live.run("run", "--project", code)
    live_one = live.run("up", "--project", code)
    alone.interrupt()
    ended = alone.ends()
    assert (ended.code, second.code, live_one.code) == (0, 5, 5), (ended, second, live_one)
    assert f"data {live.home / 'data'}\nkey sesame\nin {code}\n" in ended.out
    assert "stopped after" in ended.out
    assert "runs alone" in second.err
    assert "runs this bot alone" in live_one.err


@pytest.mark.deep
def test_run_is_refused_while_the_bot_is_live_unless_it_has_its_own_keys_and_data(live: Live) -> None:
    code = with_keys(live, ALONE)
    live.up(code)
    refused = live.run("run", "--project", code)
    half = live.run("run", "--project", code, "--data", live.tmp / "own")
    other_home = live.run("run", "--project", code, "--home", live.tmp / "other")
    assert (refused.code, half.code, other_home.code) == (5, 5, 5)
    assert "is live" in refused.err
    assert "its own --data DIR and --env-file FILE" in refused.err
    assert "its own --env-file FILE" in half.err
    assert "is live" in other_home.err
    keys = live.tmp / "own.env"
    keys.write_text("EXCHANGE_KEY=paper\n")
    alone = live.start("run", "--project", code, "--data", live.tmp / "own", "--env-file", keys, "--json")
    alone.prints("tick")
    alone.interrupt()
    ended = alone.ends()
    assert ended.code == 0, ended
    assert ended.json == {
        "bot": ended.json["bot"],
        "data": str(live.tmp / "own"),
        "python": ended.json["python"],
        "status": 0,
    }
    assert "key paper" in ended.err
    live.ticks_on()
    live.down()


@pytest.mark.deep
def test_a_bot_that_cannot_be_imported_ends_run_with_the_reason(live: Live) -> None:
    code = live.code("v0", COUNTER)
    (code / "bot.py").write_text("import nosuchlibrary\n")
    ended = live.run("run", "--project", code)
    assert ended.code == 1
    assert "nosuchlibrary" in ended.err


@pytest.mark.deep
def test_a_bot_that_is_a_loop_runs_alone(live: Live) -> None:
    code = live.code("v0", LOOP, target="main")
    alone = live.start("run", "--project", code)
    alone.prints("tick")
    alone.interrupt()
    assert alone.ends().code == 0


@pytest.mark.deep
def test_test_passes_its_arguments_to_pytest_without_the_keys_and_the_live_data(live: Live) -> None:
    code = with_keys(live, COUNTER)
    (code / "test_it.py").write_text(
        "import os, bot\n\n\ndef test_good():\n    assert 'EXCHANGE_KEY' not in os.environ\n"
        f"    assert os.environ['NEVERBLINK_DATA'] != {str(live.home / 'data')!r}\n\n\n"
        "def test_bad():\n    assert False\n"
    )
    good = live.run("test", "--project", code, "-k", "good", "-p", "no:cacheprovider")
    bad = live.run("test", "--project", code, "--json", "-p", "no:cacheprovider")
    assert (good.code, bad.code) == (0, 1), (good, bad)
    assert "1 passed" in good.out
    assert bad.json == {"ok": False, "python": bad.json["python"], "runner": "pytest", "status": 1}


@pytest.mark.deep
def test_test_runs_unittest_where_there_is_no_pytest_and_says_what_needs_it(live: Live) -> None:
    code = live.code("v0", COUNTER)
    on(code, plain_python(live.tmp))
    none = live.run("test", "--project", code)
    assert none.code == 2
    assert "there are no tests" in none.err
    (code / "tests").mkdir()
    (code / "tests" / "test_it.py").write_text(PASSING.format("self.assertTrue(True)"))
    good = live.run("test", "--project", code)
    assert (good.code, "Ran 1 test" in good.err) == (0, True), good
    (code / "tests" / "test_it.py").write_text(PASSING.format("self.fail()"))
    assert live.run("test", "--project", code).code == 1
    (code / "tests" / "test_plain.py").write_text("def test_it():\n    pass\n")
    needs = live.run("test", "--project", code)
    assert needs.code == 2
    assert "tests/test_plain.py needs pytest" in needs.err


@pytest.mark.deep
def test_shell_has_the_bot_and_a_typed_copy_of_the_running_bots_state(live: Live) -> None:
    code = live.code("v0", COUNTER)
    before = live.run("shell", "--project", code, "-c", "print(state, bot.__name__, Bot.tick)")
    assert (before.code, before.out) == (0, "None bot 10ms\n"), before
    live.up(code)
    live.ticks_on()
    seen = live.run(
        "shell", "--project", code, "-c", "print(type(state).__name__, state.ticks > 0); state.ticks = -1"
    )
    assert (seen.code, seen.out) == (0, "Book True\n"), seen
    assert live.book()["ticks"] > 0
    failed = live.run("shell", "--project", code, "-c", "1 / 0")
    assert failed.code == 1
    live.down()
    assert live.run("shell", "--project", code, "-c", "import sys; sys.exit(state.ticks < 1)").code == 0


@pytest.mark.deep
def test_shell_says_why_the_code_cannot_read_the_state(live: Live) -> None:
    code = live.code("v0", COUNTER)
    live.up(code)
    live.down()
    other = live.code("v1", bot(state="ticks: str = ''"))
    seen = live.run("shell", "--project", other, "-c", "print(state)")
    assert (seen.code, seen.out) == (0, "None\n"), seen
    assert "the state cannot be read by this code" in seen.err


def test_env_shows_names_of_variables_and_never_their_values(live: Live) -> None:
    code = with_keys(live, COUNTER)
    shown = live.run("env", "--project", code)
    told = live.run("env", "--project", code, "--json")
    path = live.run("env", "--project", code, "--path")
    assert (shown.code, told.code, path.code) == (0, 0, 0), (shown, told, path)
    assert "EXCHANGE_KEY" in shown.out
    assert told.json["env_file"] == {"path": str(code / "keys.env"), "names": ["EXCHANGE_KEY"], "problem": ""}
    assert "sesame" not in shown.out + shown.err + told.out + told.err
    assert "msgspec" in told.json["libraries"]
    assert path.out == f"{told.json['editor']}\n"
    assert os.access(told.json["editor"], os.X_OK)


@pytest.mark.deep
def test_the_projects_environment_is_built_once_shared_with_releases_and_kept_under_one_path(
    live: Live,
) -> None:
    code = live.code("v0", COUNTER)
    config = code / "neverblink.toml"
    config.write_text(
        "\n".join(line for line in config.read_text().splitlines() if not line.startswith("python"))
    )
    (code / "pyproject.toml").write_text('[project]\nname = "v0"\nversion = "1"\ndependencies = []\n')
    first = live.run("env", "--project", code, "--json")
    again = live.run("env", "--project", code, "--json")
    assert (first.code, again.err) == (0, ""), (first, again)
    assert first.json["neverblink"].startswith(str(live.home))
    up = live.up(code)
    assert [name for name in os.listdir(live.home / "environments") if not name.startswith(".")] == [
        Path(first.json["environment"]).name
    ]
    assert up.running
    (code / "pyproject.toml").write_text(
        '[project]\nname = "v0"\nversion = "1"\ndependencies = ["msgspec>=0.19"]\n'
    )
    changed = live.run("env", "--project", code, "--json")
    assert changed.json["environment"] != first.json["environment"]
    assert changed.json["editor"] == first.json["editor"]
    live.deploy(live.code("v1", COUNTER))
    assert Path(changed.json["environment"]).is_dir(), "a deployment has pruned the project's environment"
    live.down()


def test_a_home_that_a_bot_runs_alone_in_is_free_when_its_process_has_ended(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    for _ in range(2):
        os.close(hold_alone(home))
    assert json.loads((home.path / "alone").read_text()) == os.getpid()
