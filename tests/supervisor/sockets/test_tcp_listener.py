"""The operators' sockets on TCP: who gets in, who does not, and what each of them hears."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
from rich import pretty

from neverblink.protocol.commands import Answer, Command, Status
from neverblink.protocol.events import Event, SupervisorStopping, encode_event, topic_of
from neverblink.supervisor.api.client import Client, Unreachable
from neverblink.supervisor.config.addresses import ListenAddress
from neverblink.supervisor.sockets.authentication import ZapHandler
from neverblink.supervisor.sockets.bindings import Bindings
from neverblink.supervisor.sockets.client_keys import (
    AccessError,
    ClientKey,
    ClientKeys,
    key_of,
    new_secret,
)
from neverblink.supervisor.sockets.request_socket import Listeners
from neverblink.supervisor.sockets.supervisor_connection import OnServer
from neverblink.supervisor.sockets.tcp_listener import TcpListener
from neverblink.supervisor.sockets.worker_keys import public_of
from neverblink.supervisor.store.state_dir import Home

from ...ports import HOST, free_port

WITHIN = 30.0


class Listening:
    """A dispatcher that listens on TCP if it has keys."""

    def __init__(self, tmp: Path, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.tmp = tmp
        self.log: list[str] = []
        self.access = ClientKeys(tmp / "keys")
        self.port = free_port()
        self.sockets = Home.open(tmp / "home").sockets()
        self.gate = ZapHandler(context)
        listen = ListenAddress(HOST, self.port)
        self.remote = TcpListener(context, self.gate, self.access, listen, self.carry_out, self.log.append)
        self.listeners = Listeners(context, Bindings(self.sockets), self.carry_out)

    def publish(self, event: Event) -> None:
        self.remote.publish([topic_of(event), encode_event(event)])

    async def carry_out(self, command: Command) -> Answer:
        return Answer(command.id, "ok", result={"who": command.who})

    def client(self, name: str = "anna", *, server: bytes = b"", let_in: bool = True) -> OnServer:
        """A client with its own key."""
        key = ClientKey(name, new_secret(), server or public_of(self.access.server() or b""))
        if let_in:
            self.access.add(name, key.public)
            self.remote.look()
        file = self.tmp / f"{name}.key"
        key.write(file)
        return OnServer(f"tcp://{HOST}:{self.port}", file)

    async def ask(self, place: OnServer, within: float = WITHIN) -> Any:
        def talk() -> Any:
            with Client(place, who="anna@laptop") as client:
                return client.ask(Status(), within=within)

        return await asyncio.to_thread(talk)

    async def refused(self, place: OnServer) -> str:
        with pytest.raises(Unreachable) as caught:
            await self.ask(place)
        return caught.value.message


Play = Callable[[Callable[[Listening], Awaitable[None]]], None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def play(scenario: Callable[[Listening], Awaitable[None]]) -> None:
        async def played() -> None:
            context = zmq.Context[zmq.Socket[bytes]]()
            here = Listening(tmp_path, context)
            try:
                await scenario(here)
            finally:
                await here.remote.close()
                await here.listeners.close()
                here.gate.close()
                here.sockets.close()
                await asyncio.to_thread(context.term)

        asyncio.run(asyncio.wait_for(played(), WITHIN))

    return play


def nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def test_nothing_listens_without_a_server_key_and_a_client(play: Play) -> None:
    async def scenario(here: Listening) -> None:
        assert here.log[-1].endswith("there is no server's key: `neverblink keys generate`")
        assert nobody_listens(here.port)
        here.access.generate()
        here.remote.look()
        assert here.log[-1].endswith("no client may come: `neverblink keys generate NAME`")
        here.remote.look()
        assert len(here.log) == 2, "it is said once"
        assert nobody_listens(here.port)
        assert nobody_listens(here.port + 1)
        anna = here.client()
        assert here.log[-1] == f"listening on tcp://{HOST}:{here.port} for anna"
        # The history has the name of the key in addition to the name that the client gives.
        assert await here.ask(anna) == {"who": "anna@laptop (key anna)"}

    play(scenario)


def test_a_client_with_an_unknown_key_gets_no_answer_and_an_error_with_the_reason(play: Play) -> None:
    async def scenario(here: Listening) -> None:
        here.access.generate()
        here.client()
        stranger = here.client("eve", let_in=False)
        message = await here.refused(stranger)
        assert "key 'eve' is not let in" in message
        assert "neverblink keys add eve " in message
        assert await here.ask(here.client("bert"))
        elsewhere = here.client("carl", server=public_of(new_secret()))
        assert "is not the server that" in await here.refused(elsewhere)
        lines = [text for text in here.log if text.startswith("turned a connection to tcp://")]
        assert len(lines) == 1, "the first one, and not each that follows"

    play(scenario)


def test_an_unencrypted_client_gets_no_answer_from_either_socket(play: Play) -> None:
    async def scenario(here: Listening) -> None:
        here.access.generate()
        anna = here.client()
        context = zmq.Context[zmq.Socket[bytes]]()
        asks, listens = context.socket(zmq.DEALER), context.socket(zmq.SUB)
        listens.setsockopt(zmq.SUBSCRIBE, b"")
        failed = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        for one, port in ((asks, here.port), (listens, here.port + 1)):
            monitor = one.get_monitor_socket(failed)
            one.connect(f"tcp://{HOST}:{port}")
            if one is asks:
                one.send(b'{"op": "status"}')
            assert await asyncio.to_thread(monitor.poll, int(WITHIN * 1000)), "it is turned away"
            one.disable_monitor()
            monitor.close(0)
        here.publish(SupervisorStopping(bot="fox", at=1, reason="down"))
        assert await here.ask(anna), "only a client with a key is answered"
        assert asks.poll(0) == listens.poll(0) == 0
        assert {text.split(" away")[0] for text in here.log if "turned" in text} == {
            f"turned a connection to tcp://{HOST}:{port}" for port in (here.port, here.port + 1)
        }
        context.destroy(0)

    play(scenario)


def test_a_client_gets_events_until_its_key_is_removed(play: Play) -> None:
    async def scenario(here: Listening) -> None:
        here.access.generate()
        anna, bert = here.client(), here.client("bert")
        stopping = SupervisorStopping(bot="fox", at=1, reason="down")
        with Client(anna) as client:
            events = await asyncio.to_thread(client.events)
            got = asyncio.ensure_future(asyncio.to_thread(events.next, WITHIN))
            while not got.done():
                # A PUB sends nothing to those whose subscription it has not read yet.
                here.publish(stopping)
                await asyncio.sleep(0.005)
            assert await got == stopping
            assert await asyncio.to_thread(client.ask, Status(), WITHIN)
            here.access.remove("anna")
            here.remote.look()
            # It was connected: now it is not, and does not come back.
            with pytest.raises(Unreachable, match="key 'anna' is not let in"):
                await asyncio.to_thread(client.ask, Status(), WITHIN)
            events.close()
        assert await here.ask(bert), "the others are let in again"

    play(scenario)


def test_an_address_in_use_is_reported_and_the_supervisor_runs(play: Play) -> None:
    async def scenario(here: Listening) -> None:
        here.access.generate()
        with socket.socket() as other:
            other.bind((HOST, here.port))
            other.listen()
            anna = here.client()
            assert "not listening" in here.log[-1]
            assert "in use" in here.log[-1]
        here.remote.look()
        assert await here.ask(anna)

    play(scenario)


def test_a_missing_server_is_reported_as_silent(tmp_path: Path) -> None:
    file = tmp_path / "anna.key"
    ClientKey("anna", new_secret(), public_of(new_secret())).write(file)
    place = OnServer(f"{HOST}:{free_port()}", file)
    with Client(place) as client, pytest.raises(Unreachable, match="nothing listens there"):
        client.ask(Status(), within=0.1)


# --- keys and addresses -----------------------------------------------------------------------------------------------


def test_keys_are_private_to_their_user_and_appear_in_no_output(tmp_path: Path) -> None:
    access = ClientKeys(tmp_path / "keys")
    public = access.generate()
    key = ClientKey("anna", new_secret(), public)
    key.write(tmp_path / "anna.key")
    access.add("anna", key.public)
    for path in (tmp_path / "anna.key", *(tmp_path / "keys").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert ClientKey.read(tmp_path / "anna.key") == key
    shown = f"{key!r} {key} {[key]} {pretty.pretty_repr(key)}"
    assert key.secret.hex() not in shown
    assert repr(key.secret)[2:-1] not in shown
    assert access.clients() == {"anna": key.public}
    assert public_of(access.server() or b"") == public
    assert access.generate(replace=True) != public
    access.remove("anna")
    assert access.clients() == {}


def test_an_impossible_request_about_keys_is_reported_with_the_remedy(tmp_path: Path) -> None:
    access = ClientKeys(tmp_path / "keys")
    access.generate()
    access.add("anna", new_secret())
    file = tmp_path / "anna.key"
    key = ClientKey("anna", new_secret(), new_secret())
    key.write(file)
    file.chmod(0o640)
    for mend, act in (
        ("--replace makes another", access.generate),
        ("keys remove anna", lambda: access.add("anna", new_secret())),
        ("expected up to 64 letters", lambda: access.add("../x", new_secret())),
        ("clients: anna", lambda: access.remove("bert")),
        ("chmod 600", lambda: ClientKey.read(file)),
        ("name another file with --out", lambda: key.write(file)),
        ("expected 64 hexadecimal digits", lambda: key_of("secret")),
        ("expected tcp://HOST:PORT", lambda: OnServer("bots.example", file)),
    ):
        with pytest.raises(AccessError, match=mend):
            act()
    (tmp_path / "keys" / "server").write_text("spoilt")
    with pytest.raises(AccessError, match="expected 64 hexadecimal digits"):
        access.server()


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:7777", "tcp://127.0.0.1:7777"),
        ("0.0.0.0:1", "tcp://0.0.0.0:1"),
        ("[::1]:65534", "tcp://[::1]:65534"),
    ],
)
def test_a_listen_address_is_an_address_of_this_machine_with_a_port(text: str, endpoint: str) -> None:
    assert str(ListenAddress.parse(text)) == endpoint


@pytest.mark.parametrize(
    "text",
    ["", "7777", "*:7777", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65535", "::1:7777", "tcp://127.0.0.1:1"],
)
def test_an_invalid_address_is_refused(text: str) -> None:
    assert ListenAddress.parse(text) is None
