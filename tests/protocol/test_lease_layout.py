from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neverblink.protocol import lease
from neverblink.protocol.lease import (
    FILE_SIZE,
    SLOT_SIZE,
    Holder,
    LeaseCorrupt,
    decode_file,
    encode_record,
)

holders = st.builds(
    Holder,
    epoch=st.integers(1, 2**63 - 1),
    pid=st.integers(1, 2**22),
    started=st.integers(0, 2**63 - 1),
    holder=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64),
)


def file_of(*records: Holder) -> bytes:
    data = bytearray(FILE_SIZE)
    for record in records:
        start = lease.slot_of(record.epoch)
        data[start : start + SLOT_SIZE] = encode_record(record)
    return bytes(data)


@given(holders)
def test_a_record_comes_back(record: Holder) -> None:
    line = encode_record(record)
    assert len(line) == SLOT_SIZE
    assert line.endswith(b"\n")
    assert decode_file(file_of(record)) == record


@given(holders, st.integers(0, SLOT_SIZE), st.binary(min_size=SLOT_SIZE, max_size=SLOT_SIZE))
def test_a_write_cut_off_anywhere_leaves_the_epoch_before(before: Holder, cut: int, noise: bytes) -> None:
    following = Holder(before.epoch + 1, 7, 7, "next")
    data = bytearray(file_of(before))
    start = lease.slot_of(following.epoch)
    data[start : start + SLOT_SIZE] = encode_record(following)[:cut] + noise[cut:]
    assert decode_file(bytes(data)) in (before, following)


def test_a_file_never_written_has_no_holder() -> None:
    assert decode_file(b"") is None
    assert decode_file(bytes(FILE_SIZE)) is None


@given(st.binary(min_size=1, max_size=FILE_SIZE).filter(lambda data: data.strip(b"\0")))
def test_the_error_of_a_garbage_file_says_that_the_epoch_is_lost(data: bytes) -> None:
    with pytest.raises(LeaseCorrupt, match="epoch is lost"):
        decode_file(data)


def test_a_record_of_another_format_or_place_is_refused() -> None:
    line = encode_record(Holder(4, 1, 1, "w"))
    with pytest.raises(LeaseCorrupt, match="expected 'lease/1'"):
        decode_file(line.replace(b"lease/1", b"lease/9"))
    with pytest.raises(LeaseCorrupt, match="checksum"):
        decode_file(line.replace(b'"pid":1', b'"pid":2'))
    with pytest.raises(LeaseCorrupt, match="wrong line"):
        decode_file(bytes(SLOT_SIZE) + line)


@pytest.mark.parametrize("holder", ["x" * 65, "ä", "a\nb"])
def test_a_holder_whose_id_does_not_fit_is_refused(holder: str) -> None:
    with pytest.raises(ValueError, match="at most 64 printable"):
        encode_record(Holder(1, 1, 1, holder))


def test_the_start_time_is_read_after_any_process_name() -> None:
    stat = b"12 (a) b (c) R 1 " + b" ".join(b"%d" % n for n in range(5, 53))
    assert lease.started_of(stat) == 22
    assert lease.started_of(Path(f"/proc/{os.getpid()}/stat").read_bytes()) > 0
