from __future__ import annotations

import pytest

from neverblink.protocol.status import JournalSeen
from neverblink.supervisor.api.state_commands import check_written
from neverblink.supervisor.system.errors import Refusal

S = 1_000_000_000


def test_a_restore_is_refused_while_the_journal_lacks_the_newest_frames() -> None:
    failing = JournalSeen(3, 4711, "the disk is full: free some space", 1_795_532_400 * S, 17, "")
    with pytest.raises(Refusal, match=r"cannot be written since .*the disk is full: .*nothing was changed"):
        check_written(failing)
    check_written(JournalSeen(3, 4711, "", 0, 0, ""))
    check_written(None)
