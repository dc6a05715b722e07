"""Real servers take the listening socket as it is, and no request is refused in a deployment and a rollback."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ...ports import HOST, free_port
from ...whole.live import Live
from ...whole.test_sockets import Load, ask, until

PYTHON = os.environ.get("NEVERBLINK_FRAMEWORK_SERVERS", sys.executable)
BOT = Path(__file__).parent / "bot"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    here = Live(tmp_path)
    yield here
    here.close()


@pytest.mark.parametrize(
    "target", ["Aiohttp", "UvicornSockets", "UvicornDescriptor", "uvicorn_loop", "Gunicorn"]
)
def test_a_server_takes_the_socket_as_it_is_and_no_request_is_refused(live: Live, target: str) -> None:
    port = free_port()

    def code(release: str) -> Path:
        place = live.code(release, "", target=target, python=PYTHON, probation="60s")
        shutil.copytree(BOT, place, dirs_exist_ok=True)
        (place / "release").write_text(release)
        with (place / "neverblink.toml").open("a") as file:
            file.write(f'[sockets]\napi = "{HOST}:{port}"\n')
        return place

    first, second = code("1"), code("2")
    live.up(first)
    until(lambda: ask(port)[0] == "1")
    load = Load(port)
    number = live.begin(second)
    live.phase(number, "probation")
    until(lambda: {ask(port)[0] for _ in range(5)} == {"2"})
    assert {(release, leads) for release, _, leads in (ask(port) for _ in range(20))} == {("2", True)}
    live.ask("rollback")
    live.ended(number)
    until(lambda: {ask(port)[0] for _ in range(5)} == {"1"})
    assert {(release, leads) for release, _, leads in (ask(port) for _ in range(20))} == {("1", True)}
    answered = load.ends()
    assert min(answered["1"], answered["2"]) > 0
    live.down()
    live.audit()
