"""A test sshd on loopback with its own keys; it admits the user who runs the tests."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..ports import HOST, free_port

__all__ = ["SshServer", "sshd"]

_PRIVILEGE_SEPARATION = Path("/run/sshd")
"""The empty directory that Debian's sshd needs before a login; its init script makes it."""


class SshServer:
    """How to reach it: `url(path)` is a repository behind it, `command` is what git calls instead of ssh."""

    def __init__(self, port: int, key: Path) -> None:
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        self.command = f"ssh -F none -i {key} " + " ".join(f"-o {option}" for option in options)
        self._port = port

    def url(self, path: Path) -> str:
        return f"ssh://{getpass.getuser()}@{HOST}:{self._port}{path}"


@contextmanager
def sshd(place: Path) -> Generator[SshServer]:
    """Run one, and end it with all its sessions. Skips the test where there is none."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh") is None:
        pytest.skip("no sshd and ssh here: install openssh-server and openssh-client to push over ssh")
    if os.geteuid() == 0:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    place.mkdir()
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    port = free_port()
    (place / "config").write_text(
        f"ListenAddress {HOST}\nPort {port}\nHostKey {place}/host\nAuthorizedKeysFile {place}/client.pub\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n"
        "KbdInteractiveAuthentication no\n"
    )
    server = subprocess.Popen(
        [program, "-D", "-e", "-f", place / "config"], stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    try:
        lines: list[str] = []
        while not lines or "Server listening" not in lines[-1]:
            line = server.stderr.readline()
            if not line:
                pytest.skip(f"sshd can't run here: {' '.join(lines).strip()}")
            lines.append(line)
        yield SshServer(port, place / "client")
    finally:
        server.terminate()
        server.wait()
        server.stderr.close()
