from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol import size
from neverblink.protocol.size import SizeError


@pytest.mark.parametrize(
    ("text", "bytes"),
    [
        ("0B", 0),
        ("1500B", 1500),
        ("16MiB", 16 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("2GB", 2_000_000_000),
        (" 64 mib ", 64 * 2**20),
        ("1kB", 1000),
        ("8TiB", 2**43),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, bytes: int) -> None:
    assert size.parse(text) == bytes


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "write something like"),
        ("64", "write something like"),
        ("-1MiB", "write something like"),
        ("1MiBB", "write something like"),
        ("1m", "write something like"),
        ("1" * 40 + "B", "write something like"),
        ("1.5B", "not a whole number of bytes"),
        ("9000000000TiB", "larger than any file"),
    ],
)
def test_an_invalid_size_is_refused_with_the_correction(text: str, why: str) -> None:
    with pytest.raises(SizeError, match=why):
        size.parse(text)


@given(st.integers(0, 2**63 - 1))
def test_a_shown_size_reads_back_exactly(bytes: int) -> None:
    assert size.parse(size.show(bytes)) == bytes
