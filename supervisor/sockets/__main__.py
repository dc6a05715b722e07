"""`python -m neverblink.supervisor.sockets SETTINGS`: started by the supervisor, and ends with it.

Accepts requests over TCP and passes them on to the supervisor's sockets in the home, and passes every event on to the
TCP clients.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import zmq

from ..store.state_dir import Home
from ..system.helper_main import run_helper, say
from ..system.streams import complete_streams
from .client_keys import ClientKeys
from .listener import ListenerTold
from .relay import Relay
from .tcp_listener import TcpListener
from .zap import ZapHandler

__all__ = ["main"]


def main() -> int:
    complete_streams()
    told = msgspec.json.decode(sys.argv[1], type=ListenerTold)
    run_helper(lambda until: _serve(told, until))
    return 0


async def _serve(told: ListenerTold, until: asyncio.Event) -> None:
    home = Home(Path(told.home))
    context = zmq.Context[zmq.Socket[bytes]](1)
    zap_handler = ZapHandler(context)
    relay = Relay(context, home)
    remote = TcpListener(context, zap_handler, ClientKeys(home.keys), told.listen, relay.carry_out, say)
    relay.listen(remote.publish)
    await until.wait()
    await remote.close()
    relay.close()
    zap_handler.close()
    await asyncio.to_thread(context.term)


if __name__ == "__main__":
    sys.exit(main())
