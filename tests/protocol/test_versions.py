from __future__ import annotations

from itertools import product

import msgspec
import pytest

from neverblink.protocol.wire import (
    PROTOCOL,
    ProtocolMismatch,
    VersionRange,
    negotiate,
)

RANGES = [VersionRange(oldest, newest) for oldest in range(5) for newest in range(oldest, 5)]


@pytest.mark.parametrize(("theirs", "ours"), list(product(RANGES, RANGES)), ids=str)
def test_two_releases_use_the_highest_common_version_or_say_why_not(
    theirs: VersionRange, ours: VersionRange
) -> None:
    common = set(range(theirs.oldest, theirs.newest + 1)) & set(range(ours.oldest, ours.newest + 1))
    if common:
        assert negotiate("worker w", theirs, ours) == max(common)
        assert negotiate("worker w", theirs, ours) == negotiate("supervisor", ours, theirs)
        return
    with pytest.raises(ProtocolMismatch) as caught:
        negotiate("worker w", theirs, ours)
    older = theirs.newest < ours.oldest
    assert caught.value.message == (
        f"worker w speaks neverblink protocol {theirs}, this side speaks {ours}: its neverblink is "
        f"{'older' if older else 'newer'}; install the same release of neverblink on both sides"
    )
    assert (caught.value.who, caught.value.theirs, caught.value.ours) == ("worker w", theirs, ours)


@pytest.mark.parametrize("theirs", [VersionRange(9, 1), VersionRange(1, -9), VersionRange(2**63, 2**64 - 1)])
def test_an_invalid_range_of_versions_is_a_mismatch(theirs: VersionRange) -> None:
    with pytest.raises(ProtocolMismatch):
        negotiate("worker w", theirs)


def test_this_release_is_compatible_with_itself() -> None:
    assert negotiate("itself", PROTOCOL) == PROTOCOL.newest


def test_a_range_is_two_numbers_on_the_wire() -> None:
    assert msgspec.msgpack.encode(VersionRange(1, 3)) == b"\x92\x01\x03"
    assert (str(VersionRange(1, 3)), str(VersionRange(2, 2))) == ("1 to 3", "2")
