from __future__ import annotations

from pathlib import Path

import pytest

from neverblink.supervisor.workers.env_file import EnvFileError, read_env_file


def test_the_env_file_has_the_dotenv_syntax(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(
        b"\xef\xbb\xbf# keys\r\nexport KEY=abc\r\n\r\nQUOTED=\"two words\"\r\nSINGLE='$HOME'\r\nEMPTY=\r\n"
    )
    assert read_env_file(file) == {"KEY": "abc", "QUOTED": "two words", "SINGLE": "$HOME", "EMPTY": ""}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"A=1\nnonsense\n", "line 2: expected NAME=VALUE"),
        (b"A='open\n", "line 1: expected NAME=VALUE"),
        (b"\xff\xfeA\0=\x001\0", "is not UTF-8"),
        (b"A=caf\xe9\n", "is not UTF-8"),
        (b"NEVERBLINK_HOME=/tmp\n", "line 1: NEVERBLINK_HOME is set by neverblink"),
        (b"A=1\nB=\0\n", "line 2: not a name and a value"),
        (b"A=" + b"x" * 1024 * 1024, "is larger than"),
    ],
)
def test_an_error_in_the_env_file_is_reported_with_its_line(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    file = tmp_path / "keys.env"
    file.write_bytes(content)
    with pytest.raises(EnvFileError, match=problem) as raised:
        read_env_file(file)
    assert str(file) in raised.value.message
