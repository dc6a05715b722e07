# pyright: basic, reportMissingImports=false
# freqtrade is not in the environment of the tools.
"""freqtrade on neverblink: its configuration and strategy stay as they are.

    from neverblink.worker.adapters.freqtrade import trade      # all of bot.py, with config.json beside it

    bot = "bot:trade"                                           # neverblink.toml
    [sockets]
    api = "127.0.0.1:8080"                                      # if its API server is enabled

Each tick is one iteration of freqtrade's own worker. What freqtrade remembers is in its database, which all releases
share in the data directory, so a new process goes on from there. It prepares everything while the old one trades: it
imports, loads the markets and the strategy, and starts the API server, which answers once its process leads. What
neverblink carries over is whether an operator has stopped or paused freqtrade.

What a strategy keeps in its own attributes is built again, as after a restart of freqtrade; `Trade.set_custom_data` is
in the database. Telegram admits one process at a time, and is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ...protocol.errors import NeverblinkError
from ..io.release_dir import data_directory
from ..join import Loop, join
from ..model.handler_types import Tick

__all__ = ["FreqtradeError", "Trading", "only_leading", "trade"]

_RETRY_AFTER = 30_000_000_000
"""As freqtrade does after an error that may be temporary, ns."""
_STRATEGIES = "user_data/strategies"


class FreqtradeError(NeverblinkError):
    """freqtrade's configuration does not work on neverblink."""


class KnowsLeader(Protocol):
    """What knows whether this process leads: a `Loop`."""

    @property
    def leading(self) -> bool: ...


class Trading(msgspec.Struct):
    """What is carried from process to process."""

    mode: str = ""
    """freqtrade's own state: RUNNING, PAUSED or STOPPED; "" before its first tick."""
    not_before: int = 0
    """The next iteration runs no earlier, wall ns."""


def trade(
    config: Sequence[str] = ("config.json",), *, strategy: str = "", tick: str = "5s", socket: str = "api"
) -> None:
    """Run freqtrade, as `freqtrade trade --config CONFIG --strategy STRATEGY` does.

    `tick` takes the place of `process_throttle_secs`. `socket` is the name in [sockets] of the API server's address.
    Raises `FreqtradeError`, and what freqtrade raises.
    """
    loop = join(Trading, tick=tick)
    worker = _worker(loop, config, strategy, socket)
    for now in loop:
        _iterate(loop, worker, now)
    if loop.stopped:
        worker.exit()
    else:
        # The trades go on in another process: no messages, no cancelled orders.
        worker.freqtrade.rpc.cleanup()
        worker.freqtrade.exchange.close()


def _iterate(loop: Loop[Trading, None], worker: Any, tick: Tick[Trading]) -> None:
    """One iteration, with what another process has left in the database and in the state."""
    from freqtrade.enums import State
    from freqtrade.exceptions import TemporaryError
    from freqtrade.persistence import Trade

    state, bot = tick.state, worker.freqtrade
    if tick.first:
        # What this process read before it led may have changed.
        Trade.rollback()
        bot.wallets.update()
        if state.mode and state.mode != State.RELOAD_CONFIG.name:
            bot.state = worker.last = State[state.mode]
    if loop.paused and bot.state == State.RUNNING:
        bot.state = State.PAUSED
    if tick.due >= state.not_before:
        try:
            worker.iterate()
        except TemporaryError as problem:
            print(f"WARNING: {problem}: the next iteration is in {_RETRY_AFTER // 1_000_000_000} s")
            state.not_before = tick.due + _RETRY_AFTER
    state.mode = worker.freqtrade.state.name


def _worker(loop: Loop[Trading, None], config: Sequence[str], strategy: str, socket: str) -> Any:
    """freqtrade's worker, with everything that it needs before it trades."""
    from freqtrade.configuration.load_config import load_from_files
    from freqtrade.enums import State
    from freqtrade.rpc.api_server import webserver
    from freqtrade.worker import Worker

    given: Mapping[str, Any] = load_from_files([str(Path(file).absolute()) for file in config])
    if given.get("telegram", {}).get("enabled", False):
        raise FreqtradeError(
            "telegram is enabled, and Telegram admits one process at a time: set telegram.enabled to false, and use "
            "[notify] in neverblink.toml"
        )
    if given.get("api_server", {}).get("enabled", False) and socket not in loop.sockets:
        address = f"{given['api_server']['listen_ip_address']}:{given['api_server']['listen_port']}"
        raise FreqtradeError(
            f'the API server is enabled, and two processes cannot bind its port: add [sockets] {socket} = "{address}" '
            "to neverblink.toml"
        )

    class ApiServer(webserver.UvicornServer):  # type: ignore[misc,name-defined]
        """Listens on the socket that all processes share."""

        def __init__(self, uvicorn: Any) -> None:
            uvicorn.app = only_leading(loop, uvicorn.app)
            super().__init__(uvicorn)

        def run(self, sockets: Any = None) -> None:
            super().run([loop.sockets[socket]])

    class OneIteration(Worker):  # type: ignore[misc]
        """Runs one iteration when it is told to, instead of sleeping between them."""

        last: Any = None

        def iterate(self) -> None:
            self.last = self._worker(old_state=self.last)
            if self.last == State.RELOAD_CONFIG:
                self._reconfigure()

        def _process_running(self) -> None:
            self.freqtrade.process()

        @staticmethod
        def _sleep(sleep_duration: float) -> None: ...

    webserver.UvicornServer = ApiServer
    return OneIteration(_arguments(given, config, strategy))


def _arguments(given: Mapping[str, Any], config: Sequence[str], strategy: str) -> dict[str, Any]:
    """The arguments of `freqtrade trade`, with all files that it writes in the data directory."""
    data = data_directory()
    arguments: dict[str, Any] = {"config": list(config), "user_data_dir": str(data / "user_data")}
    (data / "user_data").mkdir(exist_ok=True)
    if strategy:
        arguments["strategy"] = strategy
    if "strategy_path" not in given:
        place = Path(_STRATEGIES)
        arguments["strategy_path"] = str((place if place.is_dir() else Path()).absolute())
    if "db_url" not in given:
        kind = "dryrun." if given.get("dry_run", True) else ""
        arguments["db_url"] = f"sqlite:///{data}/tradesv3.{kind}sqlite"
    return arguments


_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


def only_leading(
    loop: KnowsLeader, app: Any
) -> Callable[[_Message, _Receive, _Send], Coroutine[Any, Any, None]]:
    """`app`, where a client that is still connected to a process that no longer leads can change nothing."""

    async def answer(scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http" or loop.leading or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        body = b'{"detail": "another process leads: send it again"}'
        await send({"type": "http.response.body", "body": body})

    return answer
