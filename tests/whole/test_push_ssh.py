"""`git push live main` from another machine: over ssh, with a real sshd on loopback."""

from __future__ import annotations

import os
import signal

from .bots import COUNTER, waits
from .live import Live
from .pushing import HANDED, Pushing
from .sshd import sshd


def test_a_push_over_ssh_streams_its_progress_and_the_deployment_outlives_the_connection(live: Live) -> None:
    with sshd(live.tmp / "ssh") as door:
        code = live.code("v0", COUNTER)
        live.up(code)
        pushing = Pushing(live)
        pushing.use("GIT_SSH_COMMAND", door.command)
        pushing.git("remote", "set-url", "live", door.url(pushing.bare))
        pushing.commit(code, "Begin")
        pushed = pushing.push("-o", "message=from a laptop", "live", "main")
        assert pushed.code == 0, pushed
        assert HANDED.search(pushed.err), pushed
        assert live.run("history", "1", "--json").json["why"] == "from a laptop"
        # The laptop is closed in the middle: ssh and git are gone at once, and the deployment is not.
        gate = live.tmp / "gate"
        pushing.commit(live.code("v1", waits("on_start", gate)), "Closed")
        push = pushing.start("live", "main")
        push.prints("starting the new worker")
        os.killpg(push.pid, signal.SIGKILL)
        push.ends()
        gate.touch()
        assert live.ended(2)["outcome"] == "done", live.story()
        live.down()
        assert live.audit()["doubled"] == 0
