"""Environments built with uv while a real bot ticks, and checks, with no network: every wheel is the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neverblink.supervisor.config.config import load
from neverblink.supervisor.environment.build import BuildFailed
from neverblink.supervisor.environment.environments import Environments
from neverblink.supervisor.environment.requirements import wanted
from neverblink.supervisor.system.subprocess_runner import SubprocessRunner

from ..processes import wait_for_end
from ..supervisor.repository import Repository
from .bots import COUNT, COUNTER, bot
from .live import Live, one_line, unbroken
from .wheels import LIBRARY, needs, wheel

BUILDS = """
import pathlib, zipfile
def build_wheel(directory, settings=None, metadata=None):
    name, info = "tide-1-py3-none-any.whl", "tide-1.dist-info"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as archive:
        archive.writestr("tide.py", f"VERSION = {pathlib.Path('tide.txt').read_text()!r}")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: tide\\nVersion: 1\\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(f"{info}/RECORD", "")
    return name
"""
PROJECT = """
[project]
name = "fox"
version = "1"
requires-python = ">=3.11"
dependencies = ["prices", "tide"]
[tool.uv]
find-links = ["{wheels}"]
no-index = true
[tool.uv.sources]
tide = {{ path = "libs/tide" }}
"""
LOCK = """
version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "fox"
version = "1"
source = {{ virtual = "." }}
dependencies = [
    {{ name = "prices" }},
    {{ name = "tide" }},
]

[package.metadata]
requires-dist = [
    {{ name = "prices" }},
    {{ name = "tide", directory = "libs/tide" }},
]

[[package]]
name = "prices"
version = "1.0"
source = {{ registry = "{wheels}" }}
wheels = [
    {{ path = "{wheels}/prices-1.0-py3-none-any.whl" }},
]

[[package]]
name = "tide"
version = "1"
source = {{ directory = "libs/tide" }}
"""


def test_a_commit_with_another_version_of_a_library_takes_over_with_no_tick_missed(live: Live) -> None:
    repository = Repository(live.code("fox", LIBRARY))
    needs(live, repository.path, "prices==1.0")
    repository.commit("first")
    live.up(repository.path)
    live.prints("prices", lambda lines: lines == ["1.0"])
    # The sockets of the home are hidden from it.
    seen = f'glob.glob("{live.home}/run/*")'
    check = (
        f"""python -c 'import glob, prices, neverblink.worker; print("checked", prices.VERSION, {seen})'"""
    )
    needs(live, repository.path, "prices==2.0", check=check)
    id = repository.commit("newer prices")
    shown = live.run("deploy", "main", "--project", repository.path)
    assert shown.code == 0, shown
    assert f"{id[:8]} newer prices" in shown.out
    assert "+ prices==2.0" in shown.out
    assert "checked 2.0 []" in shown.out
    live.prints("prices", lambda lines: lines == ["1.0", "2.0"])
    # Another commit that asks for the same costs no build.
    (repository.path / "bot.py").write_text(f"{LIBRARY}# again\n")
    repository.commit("another exit")
    same = live.run("deploy", "main", "--project", repository.path, "--json")
    assert same.code == 0, same
    kept = [entry for entry in (live.home / "environments").iterdir() if not entry.name.startswith(".")]
    assert len(kept) == 2
    entry = live.run("history", "1", "--json").json
    assert (entry["commit"], entry["subject"]) == (id, "newer prices")
    assert "environment: + prices==2.0" in [" ".join(line.split()) for line in entry["log"]]
    assert [note["step"] for note in entry["steps"]][:2] == ["environment", "check"]
    live.down()
    report = live.audit()
    assert report["missed"] == report["doubled"] == 0, report
    unbroken(live.printed("tick"), report)


@pytest.mark.deep
def test_dependencies_of_the_check_are_not_in_the_bots_environment(live: Live) -> None:
    live.up(live.code("v0", COUNTER))
    wheel(live.tmp / "wheels", "1.0")
    source = bot(
        f"""
        def on_lead(self, in_doubt):
            found = importlib.util.find_spec("prices")
            say(f"prices {{found}}")
        {COUNT}
        """,
        first="import importlib.util",
    )
    place = live.code("v1", source)
    config = place / "neverblink.toml"
    config.write_text(f"{config.read_text()}[deploy]\ncheck = \"python -c 'import prices'\"\n")
    (place / "pyproject.toml").write_text(
        '[project]\nname = "fox"\nversion = "1"\n[dependency-groups]\ndev = ["prices"]\n'
        f'[tool.uv]\nno-index = true\nfind-links = ["{live.tmp / "wheels"}"]\n'
    )
    assert live.run("deploy", place).code == 0
    live.prints("prices", lambda lines: lines == ["None"])
    (place / "bot.py").write_text(f"{source}# 1\n")
    again = live.run("deploy", place)
    assert again.code == 0
    # The environments of the bot and of its check are both kept for the next deployment.
    assert again.out.count("was there") == 2
    live.down()


def test_a_failed_build_or_check_aborts_the_deployment_with_its_output(live: Live) -> None:
    place = live.code("fox", LIBRARY)
    needs(live, place, "prices==1.0")
    live.up(place)
    needs(live, place, "prices==3.0")
    refused = live.run("deploy", place)
    assert refused.code == 3, refused
    assert "there is no version of prices==3.0" in " ".join(refused.out.split())
    needs(live, place, "prices==2.0", check="python -c 'raise SystemExit(\"no exits\")'")
    refused = live.run("deploy", place, "--json")
    assert refused.code == 3, refused
    assert refused.json["reason"].startswith("check ")
    assert refused.json["reason"].endswith("failed (exit 1): no exits")
    needs(live, place, "prices==1.0", check="sh -c 'echo hanging; sleep 1000'")
    deploy = live.start("deploy", place)
    deploy.prints("hanging")
    deploy.interrupt()
    cancelled = deploy.ends()
    assert cancelled.code == 3, cancelled
    live.ticks_on()
    assert live.status()["worker"] == "w1"
    live.down()
    assert live.audit()["missed"] == 0


def test_a_library_damaged_before_an_unclean_end_is_reinstalled(live: Live) -> None:
    place = live.code("fox", LIBRARY)
    needs(live, place, "prices==1.0")
    up = live.up(place)
    live.prints("prices", lambda lines: lines == ["1.0"])
    (library,) = live.home.glob("environments/*/lib/python*/site-packages/prices.py")
    status = live.status()
    for pid in (status["supervisor"]["pid"], status["pid"]):
        os.kill(pid, signal.SIGKILL)
    up.ends()
    wait_for_end(status["pid"])
    library.write_text('VERSION = "0.1"\n')
    up = live.up(place)
    up.prints("building the environment again: ")
    live.prints("prices", lambda lines: lines == ["1.0", "1.0"])
    live.down()


def test_up_is_refused_when_the_environment_cannot_be_built(live: Live) -> None:
    place = live.code("fox", LIBRARY)
    needs(live, place, "prices==3.0")
    refused = live.run("up", "--project", place)
    assert refused.code == 8, refused
    assert "there is no version of prices==3.0" in one_line(refused)


def test_a_build_sees_no_secrets_of_the_supervisor_but_the_variables_that_the_configuration_names(
    tmp_path: Path,
) -> None:
    place = tmp_path / "project"
    library = place / "libs" / "tide"
    library.mkdir(parents=True)
    (library / "pyproject.toml").write_text(
        '[project]\nname = "tide"\nversion = "1"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (library / "tide.txt").write_text("ebb")
    seen = "import os, json; pathlib.Path('tide.txt').write_text(json.dumps(dict(os.environ)))"
    (library / "backend.py").write_text(BUILDS.replace("def build_wheel", f"{seen}\ndef build_wheel"))
    (place / "requirements.txt").write_text("./libs/tide\n")
    (place / "neverblink.toml").write_text('name = "fox"\nbot = "bot:Bot"\ndeploy.build_env = ["ALLOWED"]\n')
    secrets = {"EXCHANGE_SECRET": "s3cret", "UV_PUBLISH_TOKEN": "t0ken", "ALLOWED": "yes", "LC_TIME": "C"}
    environments = Environments(tmp_path / "environments", {**os.environ, **secrets})
    config = load(place)
    asked = wanted(place, config)
    assert asked is not None
    built = environments.build(
        place, asked, config, SubprocessRunner(tmp_path / "running"), lambda line: None
    )
    code = "import tide; print(tide.VERSION)"
    python = asyncio.run(built).python
    output = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    variables = json.loads(output)
    assert "EXCHANGE_SECRET" not in variables
    assert "UV_PUBLISH_TOKEN" not in variables
    assert (variables["ALLOWED"], variables["LC_TIME"]) == ("yes", "C")


def version(python: str) -> str:
    code = "import platform; print(platform.python_version())"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_supervisors_own_python_is_used_if_the_project_allows_it(
    tmp_path: Path, other_python: str
) -> None:
    """It lies in a virtual environment, and another that would do comes first on PATH."""
    place, programs = tmp_path / "fox", tmp_path / "programs"
    place.mkdir()
    programs.mkdir()
    (programs / "python3").symlink_to(Path(other_python).resolve())
    (place / "neverblink.toml").write_text('name = "fox"\nbot = "bot:Fox"\n')
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environments = Environments(tmp_path / "environments", {**os.environ, "PATH": path})

    def built(asks: str) -> str:
        (place / "pyproject.toml").write_text(
            f'[project]\nname = "fox"\nversion = "1"\nrequires-python = "{asks}"\n'
        )
        config = load(place)
        asked = wanted(place, config)
        assert asked is not None
        building = environments.build(
            place, asked, config, SubprocessRunner(tmp_path / "running"), lambda line: None
        )
        return version(str(asyncio.run(building).python))

    ours = version(sys.executable)
    assert version(other_python) != ours
    assert built(">=3.11") == ours
    (place / ".python-version").write_text(f"{ours}\n")
    assert built(">=3.12") == ours


@pytest.mark.deep
def test_a_locked_project_gets_its_locked_versions_and_the_current_code_of_a_local_library(
    tmp_path: Path,
) -> None:
    wheels, place = tmp_path / "wheels", tmp_path / "fox"
    wheel(wheels, "1.0")
    library = place / "libs" / "tide"
    library.mkdir(parents=True)
    (library / "pyproject.toml").write_text(
        '[project]\nname = "tide"\nversion = "1"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (library / "backend.py").write_text(BUILDS)
    (place / "neverblink.toml").write_text('name = "fox"\nbot = "bot:Fox"\n')
    (place / "pyproject.toml").write_text(PROJECT.format(wheels=wheels))
    (place / "uv.lock").write_text(LOCK.format(wheels=wheels))
    environments = Environments(tmp_path / "environments", os.environ)
    lines: list[str] = []

    def built() -> str:
        config = load(place)
        asked = wanted(place, config)
        assert asked is not None
        runner = SubprocessRunner(tmp_path / "running")
        made = asyncio.run(environments.build(place, asked, config, runner, lines.append))
        code = "import neverblink.worker, prices, tide; print(prices.VERSION, tide.VERSION, tide.__file__)"
        return subprocess.run([made.python, "-c", code], capture_output=True, text=True, check=True).stdout

    (library / "tide.txt").write_text("ebb")
    assert built().startswith(f"1.0 ebb {tmp_path / 'environments'}")
    # Nothing but the library's own code changes, and no file that a cache would look at.
    (library / "tide.txt").write_text("flow")
    assert built().startswith("1.0 flow ")
    (place / "pyproject.toml").write_text(PROJECT.format(wheels=wheels).replace('"prices"', '"prices>=1"'))
    with pytest.raises(BuildFailed, match="needs to be updated"):
        built()
