"""Libraries of an environment against the hashes of their RECORDs."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from neverblink.supervisor.environment.verification import damage_in

CODE = b"BID = 1\n"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    packages = tmp_path / "lib/python3.12/site-packages"
    (packages / "prices-1.0.dist-info").mkdir(parents=True)
    digest = base64.urlsafe_b64encode(hashlib.sha256(CODE).digest()).rstrip(b"=").decode()
    (packages / "prices-1.0.dist-info/RECORD").write_text(
        f'"prices, live.py",sha256={digest},8\n../../../bin/prices,sha256=other,1\n'
        "prices-1.0.dist-info/RECORD,,\n__pycache__/prices.cpython-312.pyc,,\n"
    )
    (packages / "prices, live.py").write_bytes(CODE)
    return packages / "prices, live.py"


def test_an_intact_library_has_no_damage(library: Path, tmp_path: Path) -> None:
    assert damage_in(tmp_path) == ""


@pytest.mark.parametrize("data", [b"", b"BID = 2\n", b"BID = 1\n\0", None])
def test_a_changed_truncated_or_removed_file_is_named(
    library: Path, tmp_path: Path, data: bytes | None
) -> None:
    if data is None:
        library.unlink()
    else:
        library.write_bytes(data)
    assert library.name in damage_in(tmp_path)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"\0\0\0,sha256=x\n"])
def test_an_unreadable_record_counts_as_damage(library: Path, tmp_path: Path, data: bytes) -> None:
    next(library.parent.glob("*/RECORD")).write_bytes(data)
    assert damage_in(tmp_path)
