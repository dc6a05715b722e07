"""`neverblink state`: what it writes, and how it words it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neverblink.supervisor.cli.exit_codes import BadInput
from neverblink.supervisor.cli.state import value_of, write_export


def test_an_export_goes_into_what_a_link_or_a_device_stands_for(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_export(tmp_path / "link", b"state")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"state"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_export(tmp_path / "pipe", b"state")
    assert os.read(reader, 10) == b"state"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo(), "a file took its place"


def test_an_export_that_cannot_be_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing" / "file"):
        with pytest.raises(BadInput, match="cannot be written"):
            write_export(path, b"state")
    assert not list(tmp_path.iterdir())


def test_a_value_with_a_key_twice_is_refused() -> None:
    assert value_of('{"a": 1}') == {"a": 1}
    with pytest.raises(BadInput, match="give it once"):
        value_of('{"a": 1, "a": 2}')
