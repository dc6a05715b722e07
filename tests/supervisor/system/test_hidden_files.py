"""Builds and checks cannot open the keys and tokens of the home, with real builds, as root and as a user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from neverblink.supervisor.system.hidden_files import HiddenFiles

from ...as_user import as_user

USER = 12345
SPY = """
import json, os, subprocess, sys

def tried(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return None

def parents():
    pid = os.getppid()
    while pid > 1:
        yield pid
        with open(f"/proc/{pid}/stat") as file:
            pid = int(file.read().rpartition(")")[2].split()[1])

def spy(where):
    paths = [os.path.join(at, name) for at, _, names in os.walk(where) for name in names]
    known = json.loads(tried(os.path.join(where, "secrets.json")))
    around = [f"/proc/{pid}/root{path}" for pid in parents() for path in known]
    around += [f"/proc/{pid}/environ" for pid in parents()]
    found = {path: text for path in (*paths, *known, *around) if "s3" "cret" in (text := tried(path) or "")}
    return sorted(found)

if __name__ == "__main__":
    print(json.dumps(spy(sys.argv[1])))
"""
SETUP = """
import pathlib, subprocess, sys, zipfile

def build_wheel(directory, settings=None, metadata=None):
    where = "{where}"
    child = [sys.executable, "spy.py", where]
    seen = subprocess.run(child, capture_output=True, text=True, check=True, start_new_session=True).stdout
    name, info = "tide-1-py3-none-any.whl", "tide-1.dist-info"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as archive:
        archive.writestr("tide.py", f"SEEN = {{seen!r}}")
        archive.writestr(f"{{info}}/METADATA", "Metadata-Version: 2.1\\nName: tide\\nVersion: 1\\n")
        archive.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(f"{{info}}/RECORD", "")
    return name
"""
PREPARE = """
import asyncio, json, os, subprocess, sys
from pathlib import Path
from neverblink.supervisor.config.config import load
from neverblink.supervisor.store.state_dir import Home
from neverblink.supervisor.environment.prepare import Preparer
from neverblink.supervisor.system.hidden_files import HiddenFiles

top, hide = Path(sys.argv[1]), sys.argv[2] == "hide"
home = Home.open(top / "project" / "home")
for place in (home.keys / "clients", home.data):
    place.mkdir(parents=True)
secret = [home.key, home.keys / "server", home.keys / "clients" / "anna", home.tokens, home.database]
secret += [home.journal / "1", home.logs / "w1.log", home.data / "trades.db", top / "project" / "bot.env", top / "chat"]
for place in secret:
    place.write_text("KEY=s3cret")
(top / "project" / "secrets.json").write_text(json.dumps([str(place) for place in secret]))

class Voice:
    lines = []
    def line(self, step, text):
        self.lines.append((step, text))
    def step(self, step, text, took, facts):
        pass

reported = []
hidden = HiddenFiles(home.private, reported.append) if hide else None
preparer = Preparer(home.environments, {**os.environ, "EXCHANGE": "s3cret"}, hidden=hidden)
project = top / "project"
config = asyncio.run(preparer.prepare("", project, load(project), Voice()))
built = subprocess.run([config.python, "-c", "import tide; print(tide.SEEN)"], capture_output=True, text=True)
check = json.loads([text for step, text in Voice.lines if step == "check"][-1])
linked = min(path.stat().st_nlink for path in home.environments.rglob("site-packages/msgspec/__init__.py"))
print(json.dumps({"build": json.loads(built.stdout), "check": check, "reported": reported, "linked": linked}))
"""


@pytest.fixture
def top() -> Generator[Path]:
    """A directory that an ordinary user can enter."""
    place = Path(tempfile.mkdtemp(prefix="neverblink-hidden-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def prepared(top: Path, user: int, *, hide: bool) -> dict[str, Any]:
    """What a build and a check of a real project could read of the secrets."""
    project, source, wheels = top / "project", top / "tide-1", top / "wheels"
    for place in (project, source, wheels):
        place.mkdir()
    (source / "setup.py").write_text(SETUP.format(where=project))
    (source / "spy.py").write_text(SPY)
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: tide\nVersion: 1\n")
    (source / "pyproject.toml").write_text(
        '[project]\nname = "tide"\nversion = "1"\n'
        '[build-system]\nrequires = []\nbuild-backend = "setup"\nbackend-path = ["."]\n'
    )
    with tarfile.open(wheels / "tide-1.tar.gz", "w:gz") as archive:
        archive.add(source, "tide-1")
    (project / "requirements.txt").write_text(f"--no-index\n--find-links {wheels}\ntide\n")
    (project / "spy.py").write_text(SPY)
    (project / "neverblink.toml").write_text(
        'name = "fox"\nbot = "bot:Bot"\n'
        + ('env_file = "bot.env"\nnotify.targets.chat.url_file = "../chat"\n' if hide else "")
        + f'[deploy]\ncheck = "python spy.py {project}"\n'
    )
    script = top / "prepare.py"
    script.write_text(PREPARE)
    command = [sys.executable, str(script), str(top), "hide" if hide else "show"]
    if user:
        for place in (top, *top.rglob("*")):
            os.chown(place, user, user)
        command = as_user(user, *command)
    environment = {**os.environ, "HOME": str(top), "UV_CACHE_DIR": str(top / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=top, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "user", [pytest.param(0, id="root", marks=pytest.mark.deep), pytest.param(USER, id="user")]
)
def test_a_build_and_a_check_cannot_read_the_secrets_of_the_home_nor_of_the_configuration(
    top: Path, user: int
) -> None:
    # An ordinary user tests as itself.
    seen = prepared(top, user if os.geteuid() == 0 else 0, hide=True)
    if seen["reported"]:
        pytest.skip(seen["reported"][0])
    assert (seen["build"], seen["check"]) == ([], [])
    # uv still links the files of its cache, and does not copy them.
    assert seen["linked"] > 1


@pytest.mark.deep
def test_without_protection_the_same_build_and_check_can_read_them(top: Path) -> None:
    seen = prepared(top, 0, hide=False)
    for name in (
        "key",
        "server",
        "anna",
        "tokens",
        "supervisor.db",
        "1",
        "w1.log",
        "trades.db",
        "bot.env",
        "chat",
    ):
        for step in ("build", "check"):
            assert any(path.endswith(f"/{name}") for path in seen[step]), (step, name)


def hidden_from(paths: list[Path], *command: str) -> subprocess.CompletedProcess[str]:
    """What a command prints that cannot open these, an ordinary user's where this is root."""
    program = Path(sys.modules[HiddenFiles.__module__].__file__ or "").with_name("hide_files.py")
    argv = [sys.executable, "-I", "-S", program, *paths, "--", *command]
    if os.geteuid() == 0:
        argv = as_user(USER, *argv)
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_a_hidden_file_cannot_be_uncovered_or_reached_by_another_path(top: Path) -> None:
    (top / "keys").mkdir()
    for place in (top / "token", top / "keys" / "server"):
        place.write_text("s3cret")
    (top / "link").symlink_to(top / "token")
    tries = f"""
        umount {top}/token; umount {top}/keys; mv {top}/token {top}/other; cat {top}/other
        unshare --user --map-root-user --mount sh -c '
            umount {top}/token; umount {top}/keys; cat {top}/token {top}/keys/server'
        cat {top}/token {top}/link {top}/keys/server; ls {top}/keys; echo > {top}/keys/mine
        echo done
    """
    done = hidden_from([top / "token", top / "keys"], "sh", "-c", tries)
    assert done.stdout == "done\n", done
    assert (top / "token").read_text() == "s3cret"


def test_if_the_kernel_refuses_the_command_runs_and_this_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret")
    code = """
import asyncio, subprocess, sys
from pathlib import Path
from neverblink.supervisor.system.hidden_files import HiddenFiles

hidden = HiddenFiles([Path("key")], print)
for _ in range(2):
    print(subprocess.run(asyncio.run(hidden.wrap(["cat", "key"], Path.cwd())), capture_output=True, text=True).stdout)
"""
    # In a namespace that may hold no further one.
    refuses = (
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"',
        "sh",
    )
    if subprocess.run([*refuses, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespace can be made here")
    done = subprocess.run(
        [*refuses, sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.count("builds and checks can read the keys and tokens of the home: ") == 1, done
    assert done.stdout.count("s3cret") == 2


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ssh") is None, reason="needs root and ssh")
def test_ssh_reads_its_included_configuration_in_the_build_of_a_user(top: Path) -> None:
    """ssh refuses files of users it does not know, and a user's namespace does not know root."""
    (top / "ssh_config.d").mkdir()
    (top / "ssh_config.d" / "fox.conf").write_text("Host fox\n    Port 1234\n")
    program = Path(sys.modules[HiddenFiles.__module__].__file__ or "").with_name("hide_files.py")
    # Any user whom the password file knows: ssh asks for one.
    asks = as_user(1, sys.executable, "-I", "-S", program, "--", "ssh", "-G", "fox")
    script = 'mount --bind "$0" /etc/ssh/ssh_config.d && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, str(top / "ssh_config.d"), *asks]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "port 1234" in done.stdout, done
