"""The keys of the workers' sockets."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import msgspec
import pytest
from rich import console, pretty

from neverblink.protocol.assignment import Assignment
from neverblink.supervisor.sockets.worker_keys import WorkerKeys, WorkerKeysError

ASSIGNMENT = Assignment("fox", "w1", "r1", "/run", "/lease", "/journal")


def test_keys_are_never_printed(tmp_path: Path) -> None:
    worker_keys = WorkerKeys.renew(tmp_path / "key")
    keys = worker_keys.of("w1")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert WorkerKeys.load(tmp_path / "key").of("w1") == keys, "a supervisor that comes later has the same"
    assert WorkerKeys.renew(tmp_path / "key").of("w1") != keys
    assert len({keys.own, keys.links, worker_keys.of("w2").own, keys.leader("w1"), keys.leader("w2")}) == 5
    assigned = msgspec.structs.replace(ASSIGNMENT, keys=keys)
    printed = io.StringIO()
    console.Console(file=printed, width=500).print(assigned, keys, pretty.pretty_repr(assigned))
    shown = [
        repr(worker_keys),
        repr(keys),
        repr(assigned),
        str(assigned),
        f"{[assigned]}",
        printed.getvalue(),
    ]
    for secret in (keys.own, keys.links, keys.supervisor, (tmp_path / "key").read_bytes()):
        for text in shown:
            assert repr(secret)[2:-1] not in text
            assert secret.hex() not in text
    assert "Keys(…)" in shown[2]


@pytest.mark.parametrize("spoilt", [None, b"", b"short"])
def test_a_lost_key_file_is_reported_with_the_remedy(tmp_path: Path, spoilt: bytes | None) -> None:
    if spoilt is not None:
        (tmp_path / "key").write_bytes(spoilt)
    with pytest.raises(WorkerKeysError, match="put it back, or end them and run `neverblink up` again"):
        WorkerKeys.load(tmp_path / "key")
