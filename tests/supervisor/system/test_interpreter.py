"""Finding an interpreter, by name, by path, and behind the shim of a version manager."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from neverblink.supervisor.system.interpreter import InterpreterError, find_interpreter


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_an_interpreter_is_found_by_its_name_and_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python9").symlink_to(os.path.realpath(sys.executable))
    environment = {"PATH": str(tmp_path / "bin")}
    # Not resolved: under its own name an environment's interpreter knows its environment.
    assert find_interpreter("python9", environment) == str(tmp_path / "bin" / "python9")
    assert find_interpreter(str(tmp_path / "bin" / "python9"), {}) == str(tmp_path / "bin" / "python9")


def test_a_shim_is_resolved_to_its_interpreter(tmp_path: Path) -> None:
    shim = program(tmp_path / "shims" / "python9", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    assert find_interpreter("python9", {"PATH": f"{shim.parent}:/usr/bin:/bin"}) == sys.executable


def test_a_shim_of_a_disabled_version_is_reported_with_its_message(tmp_path: Path) -> None:
    shim = program(
        tmp_path / "shims" / "python9",
        "#!/bin/sh\n{ echo; echo 'shim: python9: command not found'; echo 'Note: the manual.'; } >&2\nexit 127\n",
    )
    with pytest.raises(InterpreterError) as raised:
        find_interpreter("python9", {"PATH": f"{shim.parent}:/usr/bin:/bin"})
    assert raised.value.message == (
        f"python = 'python9': {shim} finds no interpreter (shim: python9: command not found): "
        "name the path of one that is installed"
    )


def test_a_missing_interpreter_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        InterpreterError, match="python = 'python9': there is no such interpreter: install it"
    ):
        find_interpreter("python9", {"PATH": str(tmp_path)})
