"""A bot's own files and environment: releases are read-only; NEVERBLINK_DATA and env_file outlive each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from .bots import COUNT, COUNTER, bot
from .live import Live

KEEPS = bot(
    f"""
    def on_start(self):
        db = sqlite3.connect(data_directory() / "trades.db")
        with db:
            db.execute("create table if not exists starts (pid)")
            db.execute("insert into starts values (1)")
        say(f"starts {{db.execute('select count(*) from starts').fetchone()[0]}}")
        say(f"key {{os.environ.get('EXCHANGE_KEY')}}")
    {COUNT}
    """,
    first="import sqlite3\nfrom neverblink.worker import data_directory",
)


@pytest.mark.parametrize(
    ("writes", "problem"),
    [
        ('open("trades.csv", "a")', "'trades.csv'"),
        pytest.param(
            'open(os.path.abspath("lib_trades.csv"), "a")', "lib_trades.csv", marks=pytest.mark.deep
        ),
        pytest.param('os.mkdir("cache")', "'cache'", marks=pytest.mark.deep),
        pytest.param(
            '__import__("sqlite3").connect("trades.db").execute("create table t (x)")',
            "unable to open database file",
            marks=pytest.mark.deep,
        ),
        pytest.param('open("bot.py", "a")', "'bot.py'", marks=pytest.mark.deep),
    ],
)
def test_a_bot_that_writes_into_its_release_fails_the_rehearsal_with_the_remedy(
    live: Live, writes: str, problem: str
) -> None:
    live.up(live.code("v0", COUNTER))
    deploy = live.run("deploy", live.code("v1", bot(f"def on_start(self):\n    {writes}\n{COUNT}")), "--json")
    assert deploy.code == 3, deploy
    assert problem in deploy.json["reason"]
    assert 'keep the file in os.environ["NEVERBLINK_DATA"]' in deploy.json["reason"]
    live.ticks_on()
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report


def test_python_bytecode_is_cached_in_a_read_only_release(live: Live) -> None:
    live.environment.pop("PYTHONDONTWRITEBYTECODE", None)
    live.up(live.code("v0", COUNTER))
    compiled = live.home / "releases" / "current" / "__pycache__"
    assert [path.name.partition(".")[0] for path in compiled.iterdir()] == ["bot"]
    live.down()


def test_the_data_directory_is_the_same_for_every_release(live: Live) -> None:
    live.up(live.code("v0", KEEPS))
    live.prints("starts", lambda lines: lines == ["1"])
    live.deploy(live.code("v1", f"{KEEPS}# 1\n"))
    live.prints("starts", lambda lines: lines == ["1", "2"])
    live.down()
    assert (live.home / "data" / "trades.db").is_file()


def test_the_environment_file_is_read_again_for_each_worker_and_never_copied(live: Live) -> None:
    live.environment["EXCHANGE_KEY"] = "of the supervisor"
    codes: list[Path] = []
    for number, key in enumerate(("first", "second")):
        code = live.code(f"v{number}", f"{KEEPS}# {number}\n")
        (code / ".env").write_text(f"# secret\nexport EXCHANGE_KEY='{key}'\n")
        config = code / "neverblink.toml"
        config.write_text(f'env_file = ".env"\n{config.read_text()}')
        codes.append(code)
    live.up(codes[0])
    live.prints("key", lambda lines: lines == ["first"])
    live.deploy(codes[1])
    live.prints("key", lambda lines: lines == ["first", "second"])
    assert not list((live.home / "releases").rglob(".env"))
    # The leader's file is gone: no worker starts without it, and the leader continues.
    (codes[1] / ".env").unlink()
    refused = live.run("deploy", codes[1], "--json")
    assert refused.code == 3, refused
    assert "env_file" in refused.json["reason"]
    assert "is not there: create it" in refused.json["reason"]
    live.ticks_on()
    live.down()
